"""Clocks of this process, or of another one, that show something else than NATS's."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

import pytest

from deploy.setup import faketime
from libs.runtime.bus import clock


def set_apart(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """For what asks `Clock` from now on: the machine's time, by so much ahead (or behind)."""

    class Apart(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # pyright: ignore[reportIncompatibleMethodOverride]
            return datetime.now(tz) + by

    monkeypatch.setattr(clock, "datetime", Apart)


def wrong(by: str) -> dict[str, str]:
    """The environment in which a process has another time of day, such as `+1h`; times that it waits stay right."""
    library = faketime.found()
    assert library is not None, "libfaketime is missing: `make test` and `make chaos` set it up"
    return {"LD_PRELOAD": str(library), "FAKETIME": by, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
