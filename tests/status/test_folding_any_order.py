"""What holds whatever comes, in whatever order."""

from __future__ import annotations

from hypothesis import given, settings

from libs.contracts.envelope import Message
from libs.contracts.operations import OperationAccepted, OperationEnded
from services.status.domain.entries import EngineEntry, OperationEntry, ToolEntry
from services.status.domain.ledger import Ledger
from services.status.domain.showing import operation_shown, tool_shown
from tests.status.histories import histories

CASES = settings(max_examples=300, deadline=None)


def folded(history: list[Message]) -> Ledger:
    ledger = Ledger()
    for sequence, message in enumerate(history, 1):
        ledger.enter(sequence, message)
    return ledger


@CASES
@given(histories)
def test_everything_that_is_known_can_be_shown(history: list[Message]) -> None:
    ledger = folded(history)
    for operation in ledger.operations.values():
        shown = operation_shown(operation)
        assert (shown.ended_at is not None) == operation.ended
        assert not (operation.ended and operation.step), "a step runs on after the end"
        assert len({step.name for step in shown.steps}) == len(shown.steps)
    for entry in ledger.tools.values():
        under_way = [each for each in ledger.operations.values() if each.tool == entry.id and not each.ended]
        view = tool_shown(entry, ledger.engines.get(entry.engine), under_way)
        assert (view.operation is None) == (not under_way)
        assert view.kind is not None or view.state in ("pending", "building", "starting")


@CASES
@given(histories)
def test_an_end_is_final(history: list[Message]) -> None:
    ledger = Ledger()
    ends: dict[str, OperationEntry] = {}
    for sequence, message in enumerate(history, 1):
        ledger.enter(sequence, message)
        for entry in ledger.operations.values():
            if entry.ended:
                assert ends.setdefault(entry.id, entry) == entry


@CASES
@given(histories)
def test_a_tools_fence_never_goes_back(history: list[Message]) -> None:
    ledger = Ledger()
    fences: dict[str, tuple[int, int]] = {}
    for sequence, message in enumerate(history, 1):
        ledger.enter(sequence, message)
        for entry in ledger.tools.values():
            before = fences.get(entry.id, (0, 0))
            assert entry.fence >= before[0]
            assert entry.recorded >= before[1]
            fences[entry.id] = entry.fence, entry.recorded


@CASES
@given(histories)
def test_what_a_tool_is_came_with_the_newest_end_that_counts(history: list[Message]) -> None:
    """The same by other means: of the first end of each operation, the last that no later fence had overtaken."""
    ledger = folded(history)
    ended: set[str] = set()
    accepted: set[str] = set()
    known: set[str] = set()
    fence: dict[str, int] = {}
    state: dict[str, object] = {}
    for message in history:
        operation = getattr(message, "operation", "")
        if isinstance(message, OperationAccepted):
            accepted.add(operation)
            known |= {message.tool} if message.kind == "install" else set()
        if not isinstance(message, OperationEnded) or operation in ended:
            continue
        if operation in accepted:
            ended.add(operation)
        if message.effect == "none" or (message.effect == "removed" and message.tool not in known):
            continue
        known.add(message.tool)
        if message.fence >= fence.get(message.tool, 0):
            fence[message.tool], state[message.tool] = message.fence, message.state
    for id, tool in state.items():
        entry = ledger.tools[id]
        if tool is not None:
            assert (entry.tool, entry.gone) == (tool, False)
        else:
            assert entry.gone


@CASES
@given(histories)
def test_since_moves_only_with_the_state(history: list[Message]) -> None:
    """Where the engine alone speaks; an operation's end says by itself since when."""
    ledger = Ledger()
    for sequence, message in enumerate(history, 1):
        before = dict(ledger.tools)
        ledger.enter(sequence, message)
        if message.type != "machete.engine.tool-observed.v1":
            continue
        for id, entry in ledger.tools.items():
            if entry.judged.state == before[id].judged.state:
                assert entry.judged.since == before[id].judged.since


@CASES
@given(histories)
def test_entries_are_the_same_after_they_were_written_and_read(history: list[Message]) -> None:
    ledger = folded(history)
    kinds = ((ledger.tools, ToolEntry), (ledger.operations, OperationEntry), (ledger.engines, EngineEntry))
    for entries, kind in kinds:
        for entry in entries.values():
            assert kind.model_validate_json(entry.model_dump_json()) == entry
