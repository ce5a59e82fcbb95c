"""What is shown: tables and sentences for people, JSON for programs. What strangers wrote is inert in a terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from clients.cli.exits import USAGE, Ending
from libs.runtime.masking import inert

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_STATES = {
    "running": "green",
    "succeeded": "green",
    "degraded": "yellow",
    "failed": "red",
    "cancelled": "yellow",
    "unknown": "magenta",
}
# What is piped on is read by programs and people who scroll: it is not cut to a screen that is not there.
WIDE = 10_000


def safe(text: object) -> str:
    """One line that does nothing to a terminal but stand there. Colours are taken out, anything else is written out."""
    return inert(_COLOUR.sub("", str(text)), keep="\t").expandtabs()


def console(stream: TextIO | None = None) -> Console:
    from rich.console import Console

    target = stream or sys.stdout
    wide = None if target.isatty() or "COLUMNS" in _environment() else WIDE
    return Console(file=target, highlight=False, markup=False, emoji=False, width=wide)


def _environment() -> Mapping[str, str]:
    import os

    return os.environ


def print_json(value: object) -> None:
    """ASCII alone, so that it is inert as well."""
    print(json.dumps(value, indent=2).replace("\x7f", "\\u007f"), flush=True)


def print_json_line(value: object) -> None:
    print(json.dumps(value).replace("\x7f", "\\u007f"), flush=True)


def state_style(state: str) -> str:
    return _STATES.get(state, "")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Cells are shown as texts; a column called STATE is coloured."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        shown.add_column(column, overflow="fold", no_wrap=column in ("STATE", "SINCE", "CREATED", "KIND"))
    for row in rows:
        cells = [Text("" if cell is None else safe(cell)) for cell in row]
        for place, column in enumerate(columns):
            if column == "STATE":
                cells[place].stylize(state_style(str(row[place])))
        shown.add_row(*cells)
    _print(shown)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """`name  value`, one a line; what is None or empty is left out."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    shown.add_column(style="dim", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", (), []):
            shown.add_row(name, Text(safe(value), style=state_style(str(value)) if name == "state" else ""))
    _print(shown)


def _print(shown: Table) -> None:
    """Without the blanks that fill lines up to the longest: what is piped on would be wide as that."""
    target = console()
    with target.capture() as captured:
        target.print(shown)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()), flush=True)


def ago(moment: str | None, now: datetime | None = None) -> str:
    """`3 min ago`; empty for what has not happened."""
    if not moment:
        return ""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return f"{max(0, int(seconds))} s ago"


def note(text: str) -> None:
    """A sentence for people, beside what is printed for programs."""
    print(safe(text), file=sys.stderr, flush=True)


def confirm(question: str, to: str) -> None:
    """Raises `Ending` unless a person says yes to what has no way back."""
    if not sys.stdin.isatty():
        raise Ending(USAGE, f"nobody can be asked here: say --yes to {to}", "usage")
    if input(f"{safe(question)} [y/N] ").strip().lower() not in ("y", "yes"):
        raise Ending(USAGE, "nothing was done", "usage")
