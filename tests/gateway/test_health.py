"""What the gateway says of those who carry out what it accepts."""

from __future__ import annotations

import pytest

from libs.runtime.health import summary
from services.gateway.app import workers_of


@pytest.mark.parametrize(
    ("alone", "status", "named"),
    [((), "ok", []), (("installer",), "degraded", ["installer"]), (("orchestrator",), "degraded", ["orchestrator"])],
)
def test_requests_are_accepted_although_nobody_is_there_to_carry_them_out(
    alone: tuple[str, ...], status: str, named: list[str]
):
    checks = workers_of(alone)
    report = summary({"gateway": checks})
    assert (report.status, report.ready) == (status, True)
    assert [check.name for check in checks if "nobody takes its commands" in check.detail] == named
