"""Carries out commands: from delivery to acknowledgement, with one committed outcome each.

The steps and what a crash or a race after each of them leads to are in docs/adr/0001-operations.md;
this module keeps to its order: turn, record, fence, work, terminal event, settle, acknowledge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import cast

import structlog

from libs.contracts.envelope import Undecodable, decode
from libs.contracts.operations import OperationCancelled, OperationEnded, OperationFailed, OperationStarted
from libs.contracts.problems import Problem
from libs.contracts.streams import COMMANDS, Consumer
from libs.contracts.tools import InstallTool, ToolCommand
from libs.runtime import metrics, tracing
from libs.runtime.bus.attempt import Attempt, Handler
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.decide import Move, Settle, Standing, Turn, next_move, standing
from libs.runtime.bus.delivery import Delivery
from libs.runtime.bus.failures import Conflict, Unavailable
from libs.runtime.bus.intake import Intake
from libs.runtime.bus.lanes import Lanes
from libs.runtime.bus.letters import Burial, keep
from libs.runtime.bus.logs import LogWriter
from libs.runtime.bus.operation import HEAD_START, FencedOff, Interrupted, Operation
from libs.runtime.bus.places import Places
from libs.runtime.bus.records import Record, Records, accepted
from libs.runtime.bus.signals import Signals
from libs.runtime.bus.states import States
from libs.runtime.bus.timing import Timing
from libs.runtime.children import OwnerGone
from libs.runtime.logging import bind

log = structlog.get_logger(__name__)


class Worker:
    """One consumer's commands, many at once, one at a time for each tool."""

    def __init__(
        self, bus: Bus, consumer: Consumer, handlers: Mapping[type[ToolCommand], Handler], timing: Timing
    ) -> None:
        self._bus = bus
        self._handlers = handlers
        self._timing = timing
        self._records = Records(bus)
        self._states = States(bus)
        self._signals = Signals(bus)
        self._lanes = Lanes(bus, self._records, self._signals, timing)
        self._intake = Intake(bus, COMMANDS, consumer, timing, self._handle)
        self._places = Places(self._records, self._signals, timing.max_running)
        self._held: dict[int, Delivery] = {}
        self._burial = Burial(bus, self._records)
        self._service = consumer.name

    async def run(self) -> None:
        """Until cancelled: then work stops where it stands and is taken up by whoever is next."""
        async with self._signals.heard():
            await self._intake.run()

    async def _handle(self, delivery: Delivery) -> None:
        known = self._held.get(delivery.sequence)
        if known is not None:
            known.adopt(delivery)
            return
        self._held[delivery.sequence] = delivery
        try:
            await self._dealt_with(delivery)
        finally:
            del self._held[delivery.sequence]

    async def _dealt_with(self, delivery: Delivery) -> None:
        try:
            command = delivery_command(delivery)
        except Undecodable as problem:
            await self._burial.bury(delivery, str(problem))
            return
        with tracing.within(delivery.trace), bind(operation=command.operation, tool=command.tool):
            try:
                async with delivery.held():
                    await self._until_done(command, delivery)
            except FencedOff:
                metrics.command_handled(self._service, command.action, "fenced")
                log.warning("fenced off: another worker owns this operation")
            except (Interrupted, Unavailable, Conflict) as problem:
                log.warning("left for a later delivery", problem=repr(problem))

    async def _until_done(self, command: ToolCommand, delivery: Delivery) -> None:
        if command.overtakes:
            await self._lanes.overtake(command, delivery.sequence)
        while True:
            whose, record = await self._lanes.turn(command, delivery)
            if whose is Turn.PAST:
                await delivery.ack()
                return
            if whose is Turn.MINE:
                async with self._places.one(command):
                    with metrics.running.labels(self._service).track_inprogress():
                        done = await self._at_head(command, delivery)
            else:
                done = await self._overtaken(command, record, delivery)
            if done:
                return

    async def _overtaken(self, command: ToolCommand, record: Record, delivery: Delivery) -> bool:
        """Cancelled while it held: nothing was begun, so it may end before its turn."""
        match next_move(record, self._timing.max_attempts):
            case Settle() as settled:
                await self._settle(command, settled, delivery)
                return True
            case Move.CANCEL:
                await self._append_end(record, self._never_begun(command, record))
                return False
            case _:
                await asyncio.sleep(self._timing.poll)
                return False

    async def _at_head(self, command: ToolCommand, delivery: Delivery) -> bool:
        """True when the command is settled or given back."""
        record = await self._records.read(command.tool, command.operation)
        while True:
            move = next_move(record, self._timing.max_attempts)
            try:
                match move:
                    case Settle() as settled:
                        await self._settle(command, settled, delivery)
                        return True
                    case Move.ACCEPT:
                        record = await self._records.append(record, accepted(command))
                    case Move.CANCEL:
                        record = await self._records.append(record, self._never_begun(command, record))
                    case _ if self._outdated(record, delivery):
                        raise FencedOff(command.operation)
                    case Move.GIVE_UP:
                        reason = f"given up after {len(record.starts)} attempts"
                        await keep(self._bus, COMMANDS, delivery, reason)
                        record = await self._records.append(record, _gave_up(command, record))
                    case Move.BEGIN | Move.RECOVER:
                        ended = await self._work(command, record, delivery, move)
                        if ended is None:
                            metrics.command_handled(self._service, command.action, "retried")
                            await delivery.nak(self._timing.retry)
                            return True
                        record = ended
            except Conflict:
                record = await self._records.read(command.tool, command.operation)

    def _outdated(self, record: Record, delivery: Delivery) -> bool:
        """Whether another worker may have been given the command after us: only the last one may take it on.

        Else a worker that was paused would take it from its living successor when it wakes up.
        """
        if delivery.lapsed():
            return True
        if not record.starts:
            return False
        _, start = record.starts[-1]
        return start.worker != self._bus.source and delivery.deliveries <= start.delivery

    async def _settle(self, command: ToolCommand, settled: Settle, delivery: Delivery) -> None:
        """All that follows from the end. Repeated after a crash; each part can be."""
        await self._states.record(settled.ended, settled.sequence)
        if settled.ended.effect == "removed":
            await self._states.release_name(command.tool, command.tool_name)
        await delivery.ack()
        metrics.command_handled(self._service, command.action, outcome_of(settled.ended))
        log.info("operation ended", action=command.action, outcome=outcome_of(settled.ended))

    def _never_begun(self, command: ToolCommand, record: Record) -> OperationCancelled:
        by = record.cancel.requested_by.label if record.cancel else "nobody"
        return OperationCancelled(
            operation=command.operation,
            tool=command.tool,
            fence=record.fence,
            effect="removed" if isinstance(command, InstallTool) else "none",
            ended_at=datetime.now(UTC),
            error=Problem(code="cancelled", message=f"Cancelled by {by} before it began; nothing was changed."),
        )

    async def _work(self, command: ToolCommand, record: Record, delivery: Delivery, move: Move) -> Record | None:
        """Takes the fence, works under it, appends the end. None: it broke in a way nobody foresaw; try again later."""
        taken_over = bool(record.starts) and record.starts[-1][1].worker != self._bus.source
        record = await self._begin(command, record, delivery)
        if taken_over:
            await asyncio.sleep(HEAD_START)
        writer = LogWriter(self._bus, command.tool, command.operation)
        operation = Operation(
            bus=self._bus,
            records=self._records,
            signals=self._signals,
            timing=self._timing,
            id=command.operation,
            tool=command.tool,
            fence=record.fence,
            deadline=record.starts[0][1].deadline,
            before=await self._states.read(command.tool),
            alive=delivery.alive,
            lapsed=delivery.lapsed,
            doubtful=delivery.doubtful,
            log=writer,
        )
        run = Attempt(self._handlers[type(command)], command, operation, self._timing)
        async with writer.writing():
            try:
                ended = await (run.recovery() if move is Move.RECOVER else run.outcome(record))
            except OwnerGone as gone:
                raise Interrupted(command.operation) from gone
            except (FencedOff, Interrupted, Unavailable):
                raise
            except Exception as problem:
                log.exception("the handler broke")
                await operation.say(f"MACHETE failed to carry this out ({type(problem).__name__}); it will try again")
                return None
            return await self._append_end(record, ended, run)

    async def _begin(self, command: ToolCommand, record: Record, delivery: Delivery) -> Record:
        now = self._bus.clock.now()
        started = OperationStarted(
            operation=command.operation,
            tool=command.tool,
            worker=self._bus.source,
            attempt=len(record.starts) + 1,
            delivery=delivery.deliveries,
            started_at=now,
            deadline=now + timedelta(seconds=self._timing.deadlines[command.action]),
        )
        begun = await self._records.append(record, started)
        log.info("operation started", action=command.action, attempt=started.attempt, fence=begun.fence)
        if begun.accepted is not None and not record.starts:
            age = (now - begun.accepted.created_at).total_seconds()
            metrics.command_taken(self._service, command.action, age)
        return begun

    async def _append_end(self, record: Record, ended: OperationEnded, run: Attempt | None = None) -> Record:
        """The record with its end. A cancel request that came first turns the end into what it asks for."""
        fence = record.fence
        while True:
            if run is not None:
                await run.flush_log()
            try:
                record = await self._records.append(record, ended)
                _measure(record, ended)
                return record
            except Conflict:
                record = await self._records.read(ended.tool, ended.operation)
                where = standing(record, fence)
                if where is Standing.FENCED_OFF:
                    raise FencedOff(ended.operation) from None
                # What came between and asks for nothing is no event of ours.
                cancelled = where is Standing.CANCELLED and not isinstance(ended, OperationCancelled)
                if run is not None and cancelled:
                    ended = await run.cancelled(record)


def outcome_of(ended: OperationEnded) -> metrics.Outcome:
    """The word that metrics use for how it ended."""
    return cast(metrics.Outcome, str(ended.ends_as))


def _measure(record: Record, ended: OperationEnded) -> None:
    if record.accepted is not None:
        seconds = (ended.ended_at - record.accepted.created_at).total_seconds()
        code = ended.error.code if isinstance(ended, OperationFailed) else None
        metrics.operation_ended(record.accepted.kind, outcome_of(ended), seconds, code)


def delivery_command(delivery: Delivery) -> ToolCommand:
    """The command in a delivery; raises `Undecodable`."""
    message = decode(delivery.data, delivery.subject).data
    if not isinstance(message, ToolCommand):
        raise Undecodable(f"{message.type} is no command")
    return message


def _gave_up(command: ToolCommand, record: Record) -> OperationFailed:
    return OperationFailed(
        operation=command.operation,
        tool=command.tool,
        fence=record.fence,
        effect="none",
        ended_at=datetime.now(UTC),
        error=Problem(
            code="given_up",
            message=f"Given up after {len(record.starts)} attempts, each of which ended MACHETE's own process.",
        ),
    )
