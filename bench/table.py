"""Rows as a table for people, and as plain data for programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.figures import Aim, Row, Sample

HEAD = ("what", "ours", "min–max", "theirs", "min–max", "ratio", "aim", "met", "n", "unit")
NOTHING = "–"


def markdown(rows: Sequence[Row]) -> str:
    """A table that is as readable raw as rendered; below it, what theirs is."""
    cells = [HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    ruler = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    against = [f"- **{row.name}** against {row.against}" for row in rows if row.against]
    return "\n".join([lines[0], ruler, *lines[1:], *(["", *against] if against else [])])


def plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [_plain(row) for row in rows]


def number(value: float) -> str:
    """Three digits that say something: 1234, 123, 12.3, 1.23."""
    if value == 0:
        return "0"
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{decimals}f}"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        number(row.ours.median),
        _span(row.ours),
        number(row.theirs.median) if row.theirs else NOTHING,
        _span(row.theirs) if row.theirs else NOTHING,
        f"{row.ratio:.2f} ×" if row.ratio is not None else NOTHING,
        _aim(row.aim, row.unit) if row.aim else NOTHING,
        _verdict(row),
        str(row.ours.n),
        row.unit,
    )


def _span(sample: Sample) -> str:
    return f"{number(sample.low)}–{number(sample.high)}"


def _aim(aim: Aim, unit: str) -> str:
    sign = "≤" if aim.bound == "at most" else "≥"
    return f"{sign} {aim.limit:g} {'×' if aim.on == 'ratio' else unit}"


def _verdict(row: Row) -> str:
    if row.missed_by is None:
        return NOTHING
    return "yes" if row.met else f"no, by {100 * row.missed_by:.0f} %"


def _plain(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "unit": row.unit,
        "ours": _sample(row.ours),
        "theirs": _sample(row.theirs) if row.theirs else None,
        "against": row.against or None,
        "ratio": row.ratio,
        "aim": asdict(row.aim) if row.aim else None,
        "met": row.met,
        "missed_by": row.missed_by,
        "details": _plain_details(row.details),
    }


def _sample(sample: Sample) -> dict[str, Any]:
    return {"median": sample.median, "min": sample.low, "max": sample.high, "n": sample.n, "values": sample.values}


def _plain_details(details: Mapping[str, object]) -> dict[str, object]:
    return {name: _sample(value) if isinstance(value, Sample) else value for name, value in details.items()}
