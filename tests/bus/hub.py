"""The other side of the bus in these tests: sends commands as the gateway does, and looks at all that came of it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from nats.js.api import ConsumerInfo

from libs.contracts.envelope import Message
from libs.contracts.logs import LogChunk
from libs.contracts.operations import (
    OperationEnded,
)
from libs.contracts.streams import COMMANDS, DEAD_LETTERS, EVENTS, LOGS, STATES, TASKS, Reservation, Stream
from libs.contracts.subjects import DEAD_LETTER, LOG, STATE, STEP
from libs.contracts.tasks import TaskEnded
from libs.contracts.tools import InstallTool, Tool, ToolCommand, ToolRecorded
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Conflict
from libs.runtime.bus.names import Names
from libs.runtime.bus.provision import provision
from libs.runtime.bus.records import Record, Records, accepted
from libs.runtime.bus.timing import DEADLINES, Timing
from tests.bus.effects import Effects, assert_alone, assert_in_order, assert_well_formed
from tests.bus.hands import WITHIN, Found, Hand, eventually, ready
from tests.bus.orders import Orders
from tests.bus.sketch import ADMIN, install, tool
from tests.support.nats_server import NATS_VERSIONS, NatsServers, running_servers
from tests.support.stage import USERS, WITNESS

TIMING = Timing(
    ack_wait=1.2, heartbeat=0.2, watchdog_bound=0.6, poll=0.3, retry=0.2, deadlines=dict(DEADLINES), max_attempts=3
)
Test = Callable[..., Awaitable[None]]


class Hub:
    """One MACHETE's bus. `gateway` and `witness` are connections of these users."""

    def __init__(self, server: NatsServers, folder: Path, gateway: Bus, witness: Bus) -> None:
        self.server = server
        self.folder = folder
        self.gateway = gateway
        self.witness = witness
        self.records = Records(gateway)
        self.effects = Effects(folder / "effects")
        self.hands: list[Hand] = []
        self.sent: list[ToolCommand] = []
        self._forgiven: list[str] = []

    # What the gateway does.

    async def reserve(self, name: str, tool: str, operation: str) -> None:
        names = Names(self.gateway)
        reservation = Reservation(tool=tool, operation=operation, reserved_at=time.time())
        assert await names.reserve(name, reservation, (await names.find(name)).revision)

    async def submit(self, command: ToolCommand, *, accept: bool = True) -> int:
        """Published, accepted; the place that the stream gave it. Without `accept` the gateway died in between."""
        if isinstance(command, InstallTool) and await self.name_holder(command.tool_name) is None:
            await self.reserve(command.tool_name, command.tool, command.operation)
        stored = await self.gateway.publish(COMMANDS, command, id=command.operation, correlation=command.operation)
        self.sent.append(command)
        if accept:
            await self.accept(command)
        return stored.sequence

    async def accept(self, command: ToolCommand) -> None:
        try:
            await self.records.append(Record(), accepted(command))
        except Conflict:
            return

    async def cancel(self, command: ToolCommand) -> None:
        await self.records.request_cancel(command.tool, command.operation, ADMIN)

    async def installed(self, name: str) -> Tool:
        """A tool that is there, as if its install had ended long ago."""
        command = install(name)
        await self.reserve(name, command.tool, command.operation)
        state = tool(command.tool, name)
        recorded = ToolRecorded(tool=command.tool, fence=0, operation=command.operation, state=state)
        await self.witness.publish(STATES, recorded, expected=0)
        return state

    # Who does the work.

    def connected(self, user: str, source: str) -> AbstractAsyncContextManager[Bus]:
        """A connection of this service of its own."""
        password = self.server.password(user)
        return connect(self.server.url, user=user, password=password, service=user, source=source)

    def hire(self, user: str, name: str, **more: Any) -> Hand:
        """A labourer of this service, as a process of its own, with this service's permissions."""
        orders = Orders(
            url=more.pop("url", self.server.url),
            user=user,
            password=self.server.password(user),
            name=name,
            effects=self.effects.path,
            output=self.folder / f"{name}.log",
            timing=more.pop("timing", TIMING),
            **more,
        )
        self.hands.append(Hand(orders))
        return self.hands[-1]

    def sent_for(self, tool: str) -> bool:
        return any(each.tool == tool for each in self.sent)

    async def raw(self, stream: Stream, subject: str, payload: bytes) -> None:
        """What somebody else publishes, whatever it is."""
        await self.witness.jetstream.publish(subject, payload, stream=stream.name)

    async def store_again(self, command: ToolCommand) -> None:
        """The same command once more, as a server takes it that has forgotten its id."""
        await self.gateway.publish(COMMANDS, command, correlation=command.operation)

    # What came of it.

    async def eventually(self, look: Callable[[], Awaitable[Found | None]], what: str) -> Found:
        return await eventually(look, what)

    async def count_ended(self, wanted: int) -> bool:
        """Whether so many of the commands sent have ended."""
        records = [await self.record(each) for each in tuple(self.sent)]
        return sum(record.ended is not None for record in records) >= wanted

    async def all(self, stream: Stream, subject: str) -> AsyncGenerator[Message]:
        """All that the stream holds under it."""
        kept = await self.witness.next(stream, subject, 1)
        while kept is not None:
            yield kept.open().data
            kept = await self.witness.next(stream, subject, kept.sequence + 1)

    async def says(self, command: ToolCommand, text: str, times: int = 1) -> None:
        """Until its log has that line so often."""
        subject = LOG.build({"tool": command.tool, "source": command.operation})

        async def look() -> bool:
            chunks = [each async for each in self.all(LOGS, subject) if isinstance(each, LogChunk)]
            return sum(line.text == text for chunk in chunks for line in chunk.lines) >= times

        await eventually(look, f"{command.operation} says {text!r}")

    async def answers(self, command: ToolCommand) -> list[TaskEnded]:
        """All that was answered to tasks of this operation."""
        subject = STEP.build({"tool": command.tool, "operation": command.operation})
        return [each async for each in self.all(EVENTS, subject) if isinstance(each, TaskEnded)]

    async def consumer(self, name: str) -> ConsumerInfo:
        return await self.witness.jetstream.consumer_info(COMMANDS.name, name)

    async def record(self, command: ToolCommand) -> Record:
        return await Records(self.witness).read(command.tool, command.operation)

    async def ended(self, command: ToolCommand, within: float = WITHIN) -> OperationEnded:
        async def look() -> OperationEnded | None:
            return (await self.record(command)).ended

        return await eventually(look, f"{command.action} {command.operation} ends", within)

    async def started(self, command: ToolCommand, times: int = 1) -> int:
        """The fence of that start, as soon as there is one."""

        async def look() -> int | None:
            starts = (await self.record(command)).starts
            return starts[times - 1][0] if len(starts) >= times else None

        return await eventually(look, f"start {times} of {command.action}")

    async def acting(self, command: ToolCommand, worker: str | None = None, what: str = "act") -> None:
        """Until somebody (or this worker) is in the middle of it."""

        async def look() -> bool:
            ticks = self.effects.of(command.operation, what, "tick")
            return any(worker in (None, each.worker) for each in ticks)

        await eventually(look, f"{worker or 'somebody'} works on {command.action} {command.operation}")

    async def name_holder(self, name: str) -> str | None:
        held = await Names(self.witness).find(name)
        return held.reservation.tool if held.reservation is not None else None

    async def state(self, tool: str) -> ToolRecorded | None:
        kept = await self.witness.last(STATES, STATE.build({"tool": tool}))
        if kept is None:
            return None
        recorded = kept.open().data
        assert isinstance(recorded, ToolRecorded)
        return recorded

    async def letters(self) -> list[Any]:  # DeadLetter, all of them
        return [each async for each in self.all(DEAD_LETTERS, DEAD_LETTER.filter())]

    async def empty(self, stream: Stream = COMMANDS, within: float = WITHIN) -> None:
        async def look() -> bool:
            return (await self.witness.jetstream.stream_info(stream.name)).state.messages == 0

        await eventually(look, f"{stream.name} is empty", within)

    # What must be true in the end, whatever happened.

    async def settled(
        self, *commands: ToolCommand, alone: bool = True, in_order: bool = True, within: float = WITHIN
    ) -> list[OperationEnded]:
        """Everything ended and came to rest as it must; returns the ends of these commands (of all, without any)."""
        give_up = time.monotonic() + within
        ends = [await self.ended(each, give_up - time.monotonic()) for each in self.sent]
        await self.empty(COMMANDS, within)
        await self.empty(TASKS, within)
        records = {each.operation: await self.record(each) for each in self.sent}
        for each in self.sent:
            assert_well_formed(records[each.operation])
        for tool_id in {each.tool for each in self.sent}:
            await self._came_to_rest([each for each in self.sent if each.tool == tool_id], records)
        stretches = self.effects.stretches()
        if alone:
            assert_alone(stretches, records)
        if in_order:
            for tool_id in {each.tool for each in self.sent}:
                assert_in_order(stretches, [each.operation for each in self.sent if each.tool == tool_id])
        wanted = {each.operation for each in commands or self.sent}
        return [end for end in ends if end.operation in wanted]

    async def _came_to_rest(self, commands: Sequence[ToolCommand], records: dict[str, Record]) -> None:
        """STATE and the name are as the last record with an effect says."""
        first = commands[0]
        ends = [(record.ended_at, record.ended) for record in (records[each.operation] for each in commands)]
        telling = [(sequence, ended) for sequence, ended in ends if ended is not None and ended.effect != "none"]
        if not telling:
            return
        sequence, last = max(telling, key=lambda each: each[0])
        recorded = await self.state(first.tool)
        assert recorded is not None, f"no STATE of {first.tool}"
        assert (recorded.fence, recorded.state) == (sequence, last.state)
        holder = await self.name_holder(first.tool_name)
        if last.state is None:
            assert holder != first.tool, f"{first.tool} is gone and still holds its name"
        else:
            assert holder == first.tool

    def forgive(self, text: str) -> None:
        """This is meant to be complained of."""
        self._forgiven.append(text)

    def complaints(self) -> list[str]:
        """What no log of a labourer may say: a permission that is missing, or an exception nobody caught."""
        wrong = ("permissions violation", "handling a message broke", "Traceback")
        return [
            f"{hand.orders.name}: {line}"
            for hand in self.hands
            for line in hand.said().splitlines()
            if any(each.lower() in line.lower() for each in wrong) and not any(each in line for each in self._forgiven)
        ]


@asynccontextmanager
async def staged_hub(version: str, folder: Path, timing: Timing = TIMING) -> AsyncGenerator[Hub]:
    """A provisioned server of this version; every labourer ends with it."""
    ready()
    async with running_servers(version, users=USERS) as server, AsyncExitStack() as stack:

        async def connected(user: str) -> Bus:
            return await stack.enter_async_context(
                connect(server.url, user=user, password=server.password(user), service=user, source=user)
            )

        await provision(await connected("platform"), ack_wait=timing.ack_wait)
        hub = Hub(server, folder, await connected("gateway"), await connected(WITNESS))
        try:
            yield hub
        finally:
            for hand in hub.hands:
                hand.end()


def on_both_servers(test: Test) -> Test:
    """The test on the oldest supported server and on the newest, at the same time: most of it is waiting."""

    @functools.wraps(test)
    async def on_both(tmp_path: Path, **given: Any) -> None:
        async with asyncio.TaskGroup() as group:
            for version in NATS_VERSIONS:
                (folder := tmp_path / version).mkdir()
                group.create_task(_on(version, folder, test, given))

    asked = inspect.signature(test).parameters.values()
    own = inspect.Parameter("tmp_path", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    on_both.__dict__["__signature__"] = inspect.Signature([own if each.name == "hub" else each for each in asked])
    return on_both


async def _on(version: str, folder: Path, test: Test, given: dict[str, Any]) -> None:
    async with staged_hub(version, folder) as hub:
        try:
            await test(hub=hub, **given)
        except BaseException as problem:
            problem.add_note(f"on NATS server {version}")
            raise
        assert not hub.complaints()


def operations(commands: Iterable[ToolCommand]) -> list[str]:
    return [each.operation for each in commands]
