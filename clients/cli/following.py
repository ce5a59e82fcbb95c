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
    place, connected, told = Place(), False, False
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


class Place:
    """Where each service's lines stand: the number of the last one, and the latest time. Times may step back."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, datetime]] = {}

    @property
    def began(self) -> bool:
        return bool(self._seen)

    def passes(self, line: dict[str, Any]) -> bool:
        """Numbers begin anew where all lines were lost; what is said after that is later than all before."""
        service, number, at = str(line.get("service", "")), int(line["number"]), datetime.fromisoformat(line["time"])
        before, latest = self._seen.get(service, (-1, at))
        if number <= before and at <= latest:
            return False
        self._seen[service] = number, max(at, latest)
        return True
