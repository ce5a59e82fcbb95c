"""The `machete` command as a process, and somebody who does what workers would: so that its every word is seen."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from libs.contracts.operations import (
    OperationCancelled,
    OperationEnded,
    OperationFailed,
    OperationStarted,
    OperationSucceeded,
    StepEnded,
    StepName,
    StepStarted,
)
from libs.contracts.problems import Problem
from libs.contracts.streams import EVENTS
from libs.contracts.tools import Tool, ToolState
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.logs import LogWriter
from libs.runtime.bus.records import Record, Records
from libs.runtime.bus.states import States
from tests.bus.sketch import tool as sketched
from tests.support.processes import freeze

MACHETE = Path(sys.executable).with_name("machete")
PATIENCE = 30.0


@dataclass(frozen=True)
class Said:
    """How a command ended, and all it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Running:
    """A command that has not ended yet."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.out = ""

    async def until(self, text: str) -> str:
        """All it has said when `text` was there."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while text not in self.out:
                chunk = await self._process.stdout.read(4096)
                assert chunk, f"it ended without saying {text!r}: {self.out}"
                self.out += chunk.decode()
        return self.out

    @property
    def pid(self) -> int:
        return self._process.pid

    def terminate(self) -> None:
        """As a supervisor does; nothing if it has ended already."""
        if self._process.returncode is None:
            self._process.terminate()

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def pause(self) -> None:
        freeze(self._process.pid)

    def wake(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def end(self) -> Said:
        async with asyncio.timeout(PATIENCE):
            out, err = await self._process.communicate()
        assert self._process.returncode is not None
        return Said(self._process.returncode, self.out + out.decode(), err.decode())


class Shell:
    """Runs `machete` with this environment and nothing of MACHETE's from the test's own."""

    def __init__(self, home: Path, **environment: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MACHETE_")}
        self.environment = {**inherited, "HOME": str(home), "TERM": "xterm-256color", **environment}
        for name in ("XDG_DATA_HOME", "COLUMNS"):  # the runner's screen is not the one that is looked at
            self.environment.pop(name, None)

    async def begin(self, *arguments: str, **environment: str) -> Running:
        process = await asyncio.create_subprocess_exec(
            MACHETE,
            *arguments,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return Running(process)

    async def run(self, *arguments: str, **environment: str) -> Said:
        return await (await self.begin(*arguments, **environment)).end()


class Worker:
    """Carries out what was accepted, step by step as a test tells it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._records = Records(bus)
        self._states = States(bus)

    async def begin(self, operation: dict[str, Any]) -> Work:
        """Takes on an operation as a 202 or the status service shows it."""
        tool, id = operation["tool"], operation["id"]
        record = await self._records.read(tool, id)
        now = datetime.now(UTC)
        started = OperationStarted(
            operation=id,
            tool=tool,
            worker="test",
            attempt=len(record.starts) + 1,
            started_at=now,
            deadline=now + timedelta(minutes=5),
        )
        return Work(self._bus, self._states, self._records, await self._records.append(record, started), operation)


class Work:
    def __init__(self, bus: Bus, states: States, records: Records, record: Record, operation: dict[str, Any]) -> None:
        self._bus = bus
        self._states = states
        self._records = records
        self._record = record
        self._about = {"operation": operation["id"], "tool": operation["tool"], "fence": record.fence}
        self._name = operation["tool_name"]
        self._log = LogWriter(bus, operation["tool"], operation["id"])

    async def step(self, name: StepName, state: Literal["succeeded", "failed", "cancelled"] | None = None) -> None:
        """A step begins, or has come to `state`."""
        now = datetime.now(UTC)
        if state is None:
            message = StepStarted.model_validate({**self._about, "step": name, "started_at": now})
        else:
            message = StepEnded.model_validate({**self._about, "step": name, "state": state, "ended_at": now})
        await self._bus.publish(EVENTS, message)

    async def say(self, *lines: str) -> None:
        await self._log.write(lines)
        await self._log.flush()

    async def succeed(self, state: ToolState = ToolState.STOPPED, urls: tuple[str, ...] = ()) -> Tool:
        tool = sketched(self._about["tool"], self._name, state).model_copy(update={"urls": urls})
        await self._end(OperationSucceeded, effect="changed", state=tool)
        return tool

    async def fail(self, code: str, message: str, detail: dict[str, Any] | None = None) -> None:
        await self._end(OperationFailed, effect="removed", error=Problem(code=code, message=message, detail=detail))

    async def cancelled(self) -> None:
        await self._end(OperationCancelled, effect="removed", error=Problem(code="cancelled", message="Cancelled."))

    async def _end(self, kind: type[OperationEnded], **more: Any) -> None:
        record = await self._records.read(self._about["tool"], self._about["operation"])
        ended = kind.model_validate({**self._about, "ended_at": datetime.now(UTC), **more})
        record = await self._records.append(record, ended)
        await self._states.record(ended, record.ended_at)


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
