"""How a tool's services look: nothing is shown of what nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

from clients.cli.output import facts, table
from clients.cli.views import show_tool
from tests.bus.sketch import tool as sketched


def shown(capsys: pytest.CaptureFixture[str], *health: str) -> list[list[str]]:
    """The table of services of a tool, each of which runs and has this health."""
    services = [
        {"name": f"s{number}", "state": "running", "health": each, "exit_code": None, "job": False}
        for number, each in enumerate(health)
    ]
    tool: dict[str, Any] = sketched("web-abcdef", "web").model_dump(mode="json")
    show_tool({**tool, "description": None, "operation": None, "services": services})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    return lines[next(place for place, line in enumerate(lines) if line[:1] == ["SERVICE"]) :]


def test_health_is_shown_where_the_engine_says_something_of_it(capsys: pytest.CaptureFixture[str]):
    assert shown(capsys, "healthy", "none") == [
        ["SERVICE", "STATE", "HEALTH"],
        ["s0", "running", "healthy"],
        ["s1", "running"],
    ]


def test_where_no_service_has_a_health_check_of_the_engines_there_is_no_column_for_it(
    capsys: pytest.CaptureFixture[str],
):
    assert shown(capsys, "none") == [["SERVICE", "STATE"], ["s0", "running"]]


def test_no_line_is_filled_with_blanks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "400")
    facts([("name", "web"), ("reason", "x" * 300)])
    table(("NAME", "ADDRESS"), [("web", "http://127.0.0.1:23176/"), ("longer than that", "")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert [line for line in lines if line.endswith(" ")] == []
