"""What is shown after which events, with nothing but the events."""

from __future__ import annotations

from libs.contracts.envelope import Message
from libs.contracts.operations import OperationState
from libs.contracts.tools import ToolRecorded, ToolState
from libs.contracts.views import OperationView, ToolView
from services.status.domain.entries import ToolEntry
from services.status.domain.folding import recalled
from services.status.domain.ledger import Ledger
from services.status.domain.showing import operation_shown, tool_shown
from tests.status.stories import Operation, at, connected, lost, observed, tool, tool_named


class Book(Ledger):
    """A ledger that numbers what it is told, and shows what it knows as the service does."""

    def __init__(self, *tools: ToolEntry) -> None:
        super().__init__(tools)
        self.sequence = 0

    def tell(self, *messages: Message) -> int:
        """The sequence of the last one."""
        for message in messages:
            self.sequence += 1
            self.enter(self.sequence, message)
        return self.sequence

    def tool(self, name: str = "sample", word: str = "") -> ToolView | None:
        entry = self.tools.get(tool_named(name, word))
        if entry is None or entry.gone:
            return None
        under_way = [each for each in self.operations.values() if each.tool == entry.id and not each.ended]
        under_way.sort(key=lambda each: each.accepted)
        return tool_shown(entry, self.engines.get(entry.engine), under_way)

    def state(self) -> str | None:
        view = self.tool()
        return view.state.value if view else None

    def operation(self, operation: Operation) -> OperationView:
        return operation_shown(self.operations[operation.id])


def installed(state: ToolState = ToolState.RUNNING) -> Book:
    book = Book()
    install = Operation()
    fence = book.tell(install.accepted(), install.started())
    book.tell(install.succeeded(fence, tool(state=state)))
    return book


def test_an_install_is_seen_from_its_acceptance_to_its_end() -> None:
    book, install = Book(), Operation()
    book.tell(install.accepted(1))
    assert (book.state(), book.operation(install).state) == ("pending", "accepted")
    fence = book.tell(install.started())
    book.tell(install.begins("fetch", fence))
    assert (book.state(), book.operation(install).state) == ("pending", "running")
    book.tell(install.ends("fetch", fence), install.begins("build", fence, 5))
    assert book.state() == "building"
    assert (view := book.tool()) is not None
    assert (view.operation, view.since, view.kind, view.release) == (install.id, at(5), None, None)
    book.tell(install.ends("build", fence), install.begins("start", fence))
    assert book.state() == "starting"
    book.tell(install.ends("start", fence), install.succeeded(fence, tool(since=9)))
    assert (view := book.tool()) is not None
    assert (view.state, view.since, view.operation, view.kind) == (ToolState.RUNNING, at(9), None, "container")
    shown = book.operation(install)
    assert shown.state is OperationState.SUCCEEDED
    assert [(step.name, step.state) for step in shown.steps] == [
        ("fetch", "succeeded"),
        ("build", "succeeded"),
        ("start", "succeeded"),
    ]


def test_of_a_failed_install_only_the_operation_stays() -> None:
    for effect in ("none", "removed"):
        book, install = Book(), Operation()
        fence = book.tell(install.accepted(), install.started())
        book.tell(install.failed(fence, effect))
        assert book.tool() is None
        assert (book.operation(install).state, book.operation(install).error.code) == ("failed", "broken")  # type: ignore[union-attr]


def test_an_install_cancelled_before_its_turn_leaves_no_tool() -> None:
    book, install = Book(), Operation()
    book.tell(install.accepted(), install.cancel(), install.cancelled(0))
    assert book.tool() is None
    assert book.operation(install).cancel_requested


def test_an_operation_that_touched_nothing_leaves_the_tool_as_it_was() -> None:
    book, restart = installed(), Operation("restart")
    before = book.tool()
    fence = book.tell(restart.accepted(), restart.started())
    book.tell(restart.begins("start", fence, 50))
    assert book.state() == "starting"
    book.tell(restart.failed(fence, "none"))
    assert book.tool() == before


def test_an_operation_that_tries_another_one_again_names_it() -> None:
    book, install, again = Book(), Operation(), Operation("install", number=1)
    book.tell(install.accepted(), install.failed(0))
    book.tell(again.accepted().model_copy(update={"retry_of": install.id}))
    assert (book.operation(again).retry_of, book.operation(install).retry_of) == (install.id, None)


def test_the_operation_that_waits_behind_a_failed_install_does_not_end_it() -> None:
    book, install, uninstall = Book(), Operation(), Operation("uninstall")
    fence = book.tell(install.accepted(), uninstall.accepted(), install.started())
    book.tell(uninstall.cancel(), uninstall.cancelled(0))
    assert book.state() == "pending"
    book.tell(install.succeeded(fence, tool()))
    assert book.state() == "running"


def test_the_newest_running_operation_is_the_tools_else_the_one_that_waits_longest() -> None:
    book = installed()
    stop, start = Operation("stop"), Operation("start")
    book.tell(stop.accepted(), start.accepted())
    assert (view := book.tool()) is not None
    assert view.operation == stop.id
    fence = book.tell(stop.started())
    book.tell(stop.succeeded(fence, tool(state=ToolState.STOPPED)))
    assert (view := book.tool()) is not None
    assert (view.operation, view.state) == (start.id, ToolState.STOPPED)


def test_steps_are_those_of_the_newest_attempt() -> None:
    book, install = Book(), Operation()
    first = book.tell(install.accepted(), install.started())
    book.tell(install.begins("fetch", first), install.ends("fetch", first), install.begins("build", first))
    second = book.tell(install.started(2))
    assert book.operation(install).steps == ()
    book.tell(install.begins("build", first), install.begins("fetch", second))
    assert [step.name for step in book.operation(install).steps] == ["fetch"]


def test_nothing_runs_on_after_the_end() -> None:
    book, install = Book(), Operation()
    fence = book.tell(install.accepted(), install.started())
    book.tell(install.begins("build", fence), install.failed(fence, "removed", seconds=7))
    book.tell(install.begins("start", fence), install.started(2), install.cancel())
    shown = book.operation(install)
    assert [(step.name, step.state, step.ended_at) for step in shown.steps] == [("build", "failed", at(7))]
    assert (shown.state, shown.cancel_requested) == ("failed", False)
    assert book.tool() is None


def test_an_end_under_a_lower_fence_is_history() -> None:
    book = installed()
    late, stop = Operation("restart"), Operation("stop")
    old = book.tell(late.accepted(), late.started())
    new = book.tell(stop.accepted(), stop.started())
    book.tell(stop.succeeded(new, tool(state=ToolState.STOPPED)))
    book.tell(late.succeeded(old, tool()))
    assert book.state() == "stopped"


def test_a_tool_that_is_gone_does_not_come_back_under_a_lower_fence() -> None:
    book = installed()
    late, uninstall = Operation("restart"), Operation("uninstall")
    old = book.tell(late.accepted(), late.started())
    new = book.tell(uninstall.accepted(), uninstall.started())
    book.tell(uninstall.succeeded(new, None), late.succeeded(old, tool()), observed())
    assert book.tool() is None


def test_a_container_killed_by_hand_shows() -> None:
    book = installed()
    book.tell(observed(seconds=100))
    assert (view := book.tool()) is not None
    assert (view.state, view.reason, view.since) == (ToolState.FAILED, "main was killed", at(100))
    assert view.services[0].state == "exited"
    book.tell(observed(seconds=150, reason="still"))
    assert (view := book.tool()) is not None
    assert (view.reason, view.since) == ("still", at(100))


def test_what_an_operation_does_to_containers_is_not_taken_for_an_accident() -> None:
    book, stop = installed(), Operation("stop")
    fence = book.tell(stop.accepted(), stop.started())
    book.tell(observed())
    assert (view := book.tool()) is not None
    assert (view.state, view.services[0].state) == (ToolState.RUNNING, "exited")
    book.tell(stop.succeeded(fence, tool(state=ToolState.STOPPED)))
    assert book.state() == "stopped"


def test_an_accident_during_an_operation_that_touched_nothing_shows_after_it() -> None:
    book, stop = installed(), Operation("stop")
    fence = book.tell(stop.accepted(), stop.started())
    book.tell(observed(), stop.failed(fence, "none"))
    assert book.state() == "failed"


def test_what_was_judged_by_an_older_record_tells_only_of_the_services() -> None:
    book = installed()
    book.tell(observed(judged_by=1))
    assert (view := book.tool()) is not None
    assert (view.state, view.services[0].state) == (ToolState.RUNNING, "exited")


def test_while_the_engine_is_away_nothing_is_known_and_afterwards_what_is_seen() -> None:
    book = installed()
    before = book.tool()
    book.tell(lost(200))
    assert (view := book.tool()) is not None
    assert (view.state, view.since) == (ToolState.UNKNOWN, at(200))
    assert "connection refused" in (view.reason or "")
    book.tell(connected())
    assert book.state() == "unknown"
    book.tell(observed(state=ToolState.RUNNING, reason=None))
    assert book.tool() == before


def test_a_tool_that_is_being_installed_is_not_unknown_because_the_engine_is_away() -> None:
    book, install = Book(), Operation()
    book.tell(install.accepted(), lost())
    assert book.state() == "pending"


def test_an_operation_whose_beginning_is_not_kept_still_tells_of_its_tool() -> None:
    book, stop = Book(), Operation("stop")
    fence = book.tell(stop.started())
    book.tell(stop.succeeded(fence, tool(state=ToolState.STOPPED)))
    assert book.operations == {}
    assert book.state() == "stopped"


def test_a_tool_known_from_its_state_alone_is_moved_by_later_ends_only() -> None:
    sample = tool(state=ToolState.STOPPED)
    entry = recalled(ToolRecorded(tool=sample.id, fence=100, operation=Operation().id, state=sample))
    assert entry is not None
    book, early, later = Book(entry), Operation("start"), Operation("restart")
    book.tell(early.started(), early.succeeded(1, tool()), observed())
    assert book.state() == "stopped"
    book.sequence = 100
    fence = book.tell(later.accepted(), later.started())
    book.tell(later.succeeded(fence, tool()))
    assert book.state() == "running"


def test_a_tool_that_is_gone_is_not_recalled() -> None:
    assert recalled(ToolRecorded(tool=tool().id, fence=3, operation=Operation().id, state=None)) is None


def test_a_name_used_again_is_another_tools() -> None:
    book = installed()
    uninstall, again = Operation("uninstall"), Operation(word="again")
    fence = book.tell(uninstall.accepted(), uninstall.started())
    book.tell(uninstall.succeeded(fence, None), again.accepted())
    assert book.tool() is None
    assert (view := book.tool(word="again")) is not None
    assert (view.name, view.state) == ("sample", ToolState.PENDING)
