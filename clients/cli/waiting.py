"""Waiting for an operation, and showing meanwhile what it does: its steps, and what it prints, as it happens."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from clients.cli.api import Api
from clients.cli.exits import FAILED, OK, UNREACHABLE, Ending
from clients.cli.output import console, note, safe
from clients.cli.transcript import Told, Transcript

ENDED = ("succeeded", "failed", "cancelled")
# A platform that is started again goes on with what it had accepted.
OUTAGE = 60.0
LAST_LINES = 3.0
# Most steps are short: they are looked for often at first, and every second later.
QUICK, QUICK_FOR, SLOW = 0.25, 15.0, 1.0
# Lines mostly come in heaps: one look at the steps for all of them.
GATHERED = 0.1


class Watcher:
    """Shows one operation. Quiet, it only waits."""

    def __init__(self, api: Api, operation: dict[str, Any], *, quiet: bool = False) -> None:
        self._api = api
        self._operation = operation
        self._quiet = quiet
        self._console = console()
        self.transcript = Transcript()
        self._heard = threading.Event()
        self._status: Any = None
        self._begun = time.monotonic()

    def until_ended(self) -> dict[str, Any]:
        """The operation as it ended. Raises `Ending` when the platform stays away."""
        if self._quiet:
            while self._operation["state"] not in ENDED:
                self._operation = self._next(self._pace())
            return self._operation
        log = threading.Thread(target=self._follow_log, daemon=True)
        log.start()
        with self._shown():
            while self._operation["state"] not in ENDED:
                self._look(log)
            log.join(LAST_LINES)
            self._say(self.transcript.end(self._operation))
        return self._operation

    def _look(self, log: threading.Thread) -> None:
        """Lines that came are shown once it is known which steps had begun by then."""
        lines_come = log.is_alive()
        if lines_come and self._heard.wait(self._pace()):
            time.sleep(GATHERED)
        self._heard.clear()
        asked = time.monotonic()
        self._operation = self._next(None if lines_come else self._pace())
        if self._status is not None:
            self._status.update(self._doing())
        if self._operation["state"] not in ENDED:
            self._say(self.transcript.tell(self._operation["steps"], asked, time.monotonic()))

    def _pace(self) -> float:
        return QUICK if time.monotonic() - self._begun < QUICK_FOR else SLOW

    def _shown(self) -> AbstractContextManager[object]:
        if not self._console.is_terminal:
            return nullcontext()
        self._status = self._console.status(self._doing())
        return self._status

    def _next(self, wait: float | None) -> dict[str, Any]:
        """The operation now, after so many seconds, or at its end. What it does during an outage shows afterwards."""
        give_up = time.monotonic() + OUTAGE
        told = False
        while True:
            try:
                return self._api.get(self._operation["links"]["self"], wait=wait)
            except Ending as problem:
                if problem.exit_code != UNREACHABLE:
                    raise
                if time.monotonic() > give_up:
                    raise Ending(UNREACHABLE, f"{problem.message} {goes_on(self._operation)}", "unreachable") from None
                if not told:
                    note(f"{problem.message} Waiting for it…")
                    told = True
                time.sleep(0.5)

    def _doing(self) -> str:
        running = [step["name"] for step in self._operation["steps"] if step["state"] == "running"]
        what = running[-1] if running else self._operation["state"]
        return f"{self._operation['kind']} {self._operation['tool_name']}: {what}"

    def _follow_log(self) -> None:
        """Whatever cuts it short, it goes on behind the line that came last."""
        came = 0
        while True:
            try:
                for place, line in enumerate(self._api.lines(self._operation["links"]["log"], follow=True)):
                    if place >= came:
                        self.transcript.hear(line, time.monotonic())
                        self._heard.set()
                        came += 1
            except Ending as problem:
                if problem.exit_code != UNREACHABLE:
                    note(f"the log cannot be shown: {problem.message}")
                    return
            self._heard.set()
            if self._operation["state"] in ENDED:
                return
            time.sleep(QUICK)

    def _say(self, what: list[Told]) -> None:
        from rich.text import Text

        for told in what:
            text = safe(told.text if told.state else f"  {told.text}")
            self._console.print(Text(text, style=_colour(told.state)), soft_wrap=True)


def _colour(state: str | None) -> str:
    """`None` is a line of the log."""
    return {None: "dim", "succeeded": "green", "failed": "red", "cancelled": "yellow"}.get(state, "bold")


def goes_on(operation: dict[str, Any]) -> str:
    id = operation["id"]
    return f"{id} goes on; see it with `machete show {id}`, end it with `machete cancel {id}`."


def exit_code(operation: dict[str, Any]) -> int:
    return OK if operation["state"] == "succeeded" else FAILED
