"""`python -m bench [--only NAME] [--runs N] [--write]`: measure, print the table, write the JSON beside it."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from bench import machine, records, table
from bench.cases import accept, alone, build_log, growth, install, live, logs, neighbours, replay, stack, start
from bench.figures import Row
from bench.stage import Stage, stage
from libs.runtime import logging

Case = Callable[[Stage, int], Awaitable[list[Row]]]

# The names that --only takes. Memory and idle are looked at in the same 20 seconds.
CASES: dict[str, Case] = {
    "start": start.measure,
    "install": install.measure,
    "stack-start": stack.start,
    "stack-install": stack.install,
    "accept": accept.measure,
    "replay": replay.measure,
    "logs": logs.measure,
    "build-log": build_log.measure,
    "neighbours": neighbours.measure,
    "live": live.measure,
    "lists": growth.lists,
    "growth": growth.measure,
    "startup": alone.startup,
    "memory": alone.rest,
    "idle": alone.rest,
}
RUNS = 7


def main(arguments: Sequence[str]) -> int:
    """0 if all was measured (aims met or not), 1 if something could not be, 130 when interrupted."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.write and asked.only:
        parser.error("--write documents one whole run: leave out --only")
    cases = {CASES[name]: name for name in asked.only or CASES}
    logging.configure("warning", "console")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    at, about = datetime.now(UTC), machine.described()
    say(f"{machine.line(about)}; {asked.runs} runs, both sides in turn")
    rows, failures = _measured(cases, asked.runs)
    about["load after"] = machine.load()
    path = records.save(rows, failures, about, at)
    say(f"\n{table.markdown(rows)}\n\n{path}")
    for name, problem in failures.items():
        say(f"\n{name} could not be measured:\n{problem}")
    if asked.write and not failures:
        records.document(rows, about, at)
    return 1 if failures else 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _measured(cases: dict[Case, str], runs: int) -> tuple[list[Row], dict[str, str]]:
    rows: list[Row] = []
    failures: dict[str, str] = {}
    with stage() as bench:
        for case, name in cases.items():
            say(f"… {name}")
            try:
                rows += asyncio.run(_whole(case(bench, runs)))
            except Exception:
                failures[name] = traceback.format_exc()
    return rows, failures


async def _whole(case: Awaitable[list[Row]]) -> list[Row]:
    return await case


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(CASES), help="may be given several times")
    parser.add_argument("--runs", type=_positive, default=RUNS, metavar="N", help=f"on each side (default {RUNS})")
    parser.add_argument("--write", action="store_true", help="put the table into docs/bench.md as well")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
