"""Every test that docs/promises.md names is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def names_there() -> set[str]:
    found: set[str] = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        nodes = ast.walk(ast.parse(file.read_text()))
        found |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return found


def test_every_promise_names_tests_that_are_there() -> None:
    rows = [line for line in (ROOT / "docs" / "promises.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 9
    there = names_there()
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= there, set(named) - there
