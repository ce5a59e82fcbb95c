"""A moment as people say it: how long ago, or when."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

_AGO = re.compile(r"(\d{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(said: str) -> datetime:
    """`10m` or `2h` ago, or a time in ISO 8601, of this machine's zone where it names none. Raises `BadParameter`."""
    ago = _AGO.fullmatch(said)
    try:
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(said).astimezone(UTC)
    except (ValueError, OverflowError):
        wrong = f"{said!r} is no time: say how long ago (90s, 10m, 2h, 1d) or when (2026-01-31T12:00:00Z)"
        raise typer.BadParameter(wrong) from None
