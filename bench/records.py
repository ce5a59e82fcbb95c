"""Where results go: JSON beside the table, and the newest table into the documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import machine, table
from bench.children import ROOT
from bench.figures import Row

RESULTS = ROOT / "bench" / "results"
DOCUMENT = ROOT / "docs" / "bench.md"
INTRODUCTION = """# What it costs

Written by `python -m bench --write`: one run, both sides measured in turn, medians. `ratio` is ours to theirs; where an
aim is missed, `met` says by how much. Absolute figures belong to the machine they were taken on and to what else it did
meanwhile; ratios travel better. For scale: Dockge 1.5, idle, was once measured at 191 MB on the same kind of machine.
"""


def save(rows: Sequence[Row], failures: dict[str, str], about: dict[str, str], at: datetime) -> Path:
    """Returns the file, named by the time in UTC."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{at.astimezone(UTC):%Y-%m-%dT%H%M%SZ}.json"
    whole = {"at": at.isoformat(), "machine": about, "rows": table.plain(rows), "failures": failures}
    path.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    return path


def document(rows: Sequence[Row], about: dict[str, str], at: datetime) -> None:
    taken = f"Taken {at:%Y-%m-%d}: {machine.line(about)}."
    DOCUMENT.write_text(f"{INTRODUCTION}\n{taken}\n\n{table.markdown(rows)}\n")
