"""`python -m tests.chaos.harness --seed 7`: exit code 0 when nothing is found, 1 with findings.

The first Ctrl-C ends commands and faults, and judges what there was; the second ends everything.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from libs.runtime import logging
from tests.chaos.harness import plan
from tests.chaos.harness.defects import DEFECTS
from tests.chaos.harness.history import written
from tests.chaos.harness.report import report
from tests.chaos.harness.run import PATIENCE, SETTLING, Options, run


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    options = Options(
        seed=given.seed,
        tools=given.tools,
        commands=given.commands,
        faults=given.faults,
        kinds=given.faults_of,
        clients=given.clients,
        most=given.most,
        patience=given.patience,
        settling=given.settling,
        postgres=given.postgres,
        program=("tests.chaos.harness.defects", given.defect) if given.defect else ("services",),
    )
    logging.configure("error", "console")
    # However it is ended, nothing of it stays on the engine; a shell lets what runs in the background ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="machete-harness-") as folder:
        outcome = asyncio.run(run(options, Path(folder) / "run"))
        if given.logs is not None:
            given.logs.mkdir(parents=True, exist_ok=True)
            for log in Path(folder).rglob("*.log"):
                shutil.copy(log, given.logs)
    print(*report(outcome), sep="\n")
    if given.history is not None:
        given.history.write_text("".join(f"{line}\n" for line in written(outcome.history)))
    return 1 if outcome.findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m tests.chaos.harness", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=7, help="the same seed: the same commands and the same faults")
    parser.add_argument("--tools", type=int, default=30)
    parser.add_argument("--commands", type=int, default=500)
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--faults-of", type=_kinds, default=plan.KINDS, help=f"of {','.join(plan.KINDS)}; all without")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--most", type=int, default=16, help="the most operations under way at once")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds without any end: nothing goes on")
    parser.add_argument("--settling", type=float, default=SETTLING, help="seconds in which findings may go away")
    parser.add_argument("--history", type=Path, help="where all that happened is written, one JSON object a line")
    parser.add_argument("--logs", type=Path, help="a folder for what the services logged")
    parser.add_argument("--postgres", action="store_true", help="keep databases in a server, and not in files")
    parser.add_argument("--defect", choices=sorted(DEFECTS), help="break the platform in this way, to see it found")
    return parser


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if unknown := {kind.partition(":")[0] for kind in kinds} - set(plan.KINDS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: there are {', '.join(plan.KINDS)}")
    return kinds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
