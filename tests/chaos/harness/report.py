"""What a run comes to, in words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.chaos.harness.judge import ENDS, recoveries
from tests.chaos.harness.run import Outcome

MOST_SHOWN = 40


def report(outcome: Outcome) -> Iterator[str]:
    history = outcome.history
    ends = Counter(said.what for said in history.said if said.what in ENDS)
    codes = Counter(said.code for said in history.said if said.what == "failed")
    accepted = {asked.operation for asked in history.asked if asked.operation}
    attempts = Counter(said.operation for said in history.said if said.what == "started")
    yield f"{len(history.asked)} requests, {len(accepted)} operations accepted, in {outcome.seconds:.0f} s"
    yield f"ended: {_counts(ends)}; failures: {_counts(codes)}"
    for code, why in {said.code: said.why for said in history.said if said.what == "failed"}.items():
        yield f"    {code}, as: {why}"
    yield f"refusals and lost answers: {_counts(outcome.refusals)}"
    again, most = sum(count > 1 for count in attempts.values()), max(attempts.values(), default=0)
    yield f"operations begun more than once: {again}, the most: {most} times; starts in vain: {outcome.restarts}"
    yield f"{len(history.fault)} faults; seconds from the end of each to the next end of an operation:"
    yield f"    {'fault':<28}{'times':>6}{'median':>9}{'worst':>9}"
    for each in recoveries(history):
        last = f"  ({each.open} with nothing left to do)" if each.open else ""
        yield f"    {each.kind:<28}{each.faults:>6}{each.median:>9.2f}{each.worst:>9.2f}{last}"
    yield f"findings: {len(outcome.findings)}"
    for finding in outcome.findings[:MOST_SHOWN]:
        yield f"    {finding}"


def _counts(counts: Counter[str] | Counter[str | None]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"
