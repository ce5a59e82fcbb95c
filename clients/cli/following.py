"""A log that is followed over outages: whatever cuts it short, it goes on behind the line that came last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from clients.cli.api import Api, Unreachable
from clients.cli.exits import REFUSED, UNREACHABLE, Ending
from clients.cli.output import note

PAUSE = 0.5


def followed(api: Api, path: str, over: Callable[[], bool], **query: object) -> Iterator[dict[str, Any]]:
    """Lines as they come, until `over` says that no more will. Raises `Ending` where the first try fails.

    Once a line came, what the query narrows the past down to (`tail`) is left out: what came meanwhile is not to lack.
    """
    place, connected, told = _Place(), False, False
    while True:
        try:
            for line in api.lines(path, follow=True, **query):
                connected, told = True, False
                if place.passes(line):
                    yield line
            connected = True
            if over():
                return
            away = Unreachable(api.place.url, ConnectionError("the connection ended"))
        except Ending as problem:
            if connected and problem.exit_code == REFUSED and over():
                return
            if not connected or problem.exit_code != UNREACHABLE:
                raise
            away = problem
        if not told:
            note(f"{away.message} Waiting for it…")
            told = True
        if place.began:
            query.pop("tail", None)
        place.again()
        time.sleep(PAUSE)


def is_gone(api: Api, path: str, name: str) -> bool:
    """Whether the tool was uninstalled, which is told then."""
    try:
        api.get(path)
    except Ending as problem:
        if problem.code_word != "tool_not_found":
            raise
        note(f"{name} was uninstalled: its log ends here.")
        return True
    return False


class _Place:
    """Where each service's lines stand: the time of the last one, and how many there were of that time."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[datetime, int]] = {}
        self._now: dict[str, tuple[datetime, int]] = {}

    @property
    def began(self) -> bool:
        return bool(self._seen)

    def again(self) -> None:
        """The lines that come now may have come before."""
        self._now.clear()

    def passes(self, line: dict[str, Any]) -> bool:
        service, at = str(line.get("service", "")), datetime.fromisoformat(line["time"])
        before, count = self._now.get(service, (at, 0))
        here = self._now[service] = at, count + 1 if before == at else 1
        if service in self._seen and here <= self._seen[service]:
            return False
        self._seen[service] = here
        return True
