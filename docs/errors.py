"""`docs/errors.md`: what bad input gets, from the cases that the tests prove one by one."""

import re

from tests.e2e.bad_input.case import Case
from tests.e2e.bad_input.catalogue import GROUPS

_HEAD = """\
# What bad input gets

Written by `python -m docs.generate` from `tests/e2e/bad_input`; `tests/e2e/test_bad_input.py` does each of these on a
real platform and finds that the sentence is this one, and that nothing else stays than is said here.

- **answer**: the HTTP status of a request that is refused, before anything is stored; *fails*: the request is
  accepted (202), and its operation ends as `failed`; *shows*: the tool has this state, with the sentence as its
  `reason`; *exit 4*: `machete` ends with this code.
- **code**: stable, for programs: `code` in the problem document, `error.code` of the operation.
- **what it says**: `detail` in the problem document, `error.message` of the operation: what is wrong, and then what
  would be right. `<…>` stands for what differs from time to time. Where a build or a tool failed, its last lines come
  along as `error.detail.log`.
- **what stays**: *nothing*: no tool, container, image, network, volume or folder, and the name is free again;
  *the tool*: installed and `failed`, stopped, its `reason` this sentence; *as it was*: what was there before.

Other tools notice nothing of any of this.
"""
_DOORS = {"operation": "fails", "tool": "shows", "command": "exit 4"}
_STAYS = {"nothing": "nothing", "installed": "the tool", "as it was": "as it was"}


def render_errors() -> str:
    return "\n".join([_HEAD, *(_section(title, cases) for title, cases in GROUPS.items())])


def _section(title: str, cases: tuple[Case, ...]) -> str:
    head = ("| what came in | answer | code | what it says | what stays |", "| --- | --- | --- | --- | --- |")
    return "\n".join([f"## {title}", "", *head, *map(_row, cases), ""])


def _row(case: Case) -> str:
    said = case.said
    answer = str(said.status) if said.status is not None else _DOORS[case.door]
    cells = (_cell(case.did), answer, f"`{said.code}`", _cell(said.sentence), _STAYS[case.leaves])
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Outside backticks, what Markdown would take for its own is written out."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        parts[-2:] = ["`".join(parts[-2:])]
    plain = [re.sub(r"([\\*_<>\[\]`])", r"\\\1", part) if place % 2 == 0 else part for place, part in enumerate(parts)]
    return "`".join(plain).replace("|", r"\|")
