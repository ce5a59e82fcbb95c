"""A short run of the harness: each kind of fault once, under load, and nothing is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.harness import plan
from tests.chaos.harness.report import report
from tests.chaos.harness.run import Options, run

# A kind more than once takes its time: a pause, a cut line and a killed process last, whichever service it is.
QUICK = (
    "kill:orchestrator",
    "kill:installer",
    "pause:orchestrator",
    "cut:orchestrator",
    "nats-killed",
    "consumer-deleted",
    "store-full:COMMANDS",
    "engine-cut",
    "container-killed",
    "container-removed",
    "database-locked",
    "database-lost",
    "disk-full",
    "nats-disk-full",
)
SMALL = {"gateway": 2, "installer": 2, "orchestrator": 2, "status": 1}


@pytest.mark.timeout(480)
async def test_under_faults_of_many_kinds_every_promise_is_kept(tmp_path: Path) -> None:
    options = Options(
        seed=11,
        tools=8,
        commands=120,
        faults=len(QUICK),
        kinds=QUICK,
        replicas=SMALL,
        patience=60,
    )
    outcome = await run(options, tmp_path / "run")
    said = "\n".join(report(outcome))
    print(said)
    assert outcome.findings == [], said
    # It was no idle run: something was there to be disturbed, and was.
    assert len(outcome.history.fault) >= len(QUICK) - 2, said
    assert sum(each.what == "succeeded" for each in outcome.history.said) >= 20, said
    assert {fault.kind.split()[0] for fault in outcome.history.fault} <= set(plan.KINDS)
