"""What a worker does next is decided by the record alone, for every record that can exist."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.contracts.operations import (
    CancelRequested,
    OperationAccepted,
    OperationCancelled,
    OperationEnded,
    OperationFailed,
    OperationStarted,
    OperationSucceeded,
    Recorded,
)
from libs.contracts.problems import Problem
from libs.runtime.bus.decide import Move, Settle, Standing, Turn, next_move, standing, turn
from libs.runtime.bus.records import Entry, Record
from tests.bus.sketch import ADMIN

NOW = datetime.now(UTC)
OPERATION = "op-" + "a" * 26
TOOL = "lathe-aaaaaa"
ABOUT: dict[str, Any] = {"operation": OPERATION, "tool": TOOL}
GONE = Problem(code="gone", message="Gone.")


def event(letter: str, fence: int, attempt: int) -> Recorded:
    match letter:
        case "a":
            return OperationAccepted(
                **ABOUT, kind="start", tool_name="lathe", requested_by=ADMIN, digest="0", created_at=NOW
            )
        case "s":
            deadline = NOW + timedelta(minutes=attempt)
            return OperationStarted(**ABOUT, worker="w", attempt=attempt, started_at=NOW, deadline=deadline)
        case "c":
            return CancelRequested(**ABOUT, requested_by=ADMIN)
        case "+":
            return OperationSucceeded(**ABOUT, fence=fence, effect="none", ended_at=NOW)
        case "-":
            return OperationFailed(**ABOUT, fence=fence, effect="none", ended_at=NOW, error=GONE)
        case _:
            return OperationCancelled(**ABOUT, fence=fence, effect="none", ended_at=NOW, error=GONE)


@st.composite
def records(draw: st.DrawFn, *, ended: bool | None = None) -> Record:
    """accepted, starts and at most one cancel request in any order, perhaps an end; at growing sequences."""
    word = "a" + "s" * draw(st.integers(0, 8))
    if draw(st.booleans()):
        at = draw(st.integers(1, len(word)))
        word = word[:at] + "c" + word[at:]
    if ended if ended is not None else draw(st.booleans()):
        word += draw(st.sampled_from("+-x"))
    if ended is None and draw(st.integers(0, 20)) == 0:
        return Record()
    return record_of(word, draw(st.lists(st.integers(1, 50), min_size=len(word), max_size=len(word))))


def record_of(word: str, gaps: list[int] | None = None) -> Record:
    entries: list[Entry] = []
    sequence = fence = attempt = 0
    for position, letter in enumerate(word):
        sequence += gaps[position] if gaps else 1
        attempt += letter == "s"
        entries.append(Entry(sequence, event(letter, fence, attempt), f"id-{position}"))
        fence = sequence if letter == "s" else fence
    return Record(tuple(entries))


@given(records(), st.integers(1, 6))
def test_there_is_a_move_for_every_record(record: Record, most: int):
    move = next_move(record, most)
    if record.ended is not None:
        assert move == Settle(record.ended, record.entries[-1].sequence)
    elif not record.entries:
        assert move is Move.ACCEPT
    elif not record.starts:
        assert move is (Move.CANCEL if record.cancel else Move.BEGIN)
    else:
        assert move in (Move.BEGIN, Move.RECOVER, Move.GIVE_UP)


@given(records(ended=True), st.integers(1, 6))
def test_what_has_ended_is_only_ever_settled(record: Record, most: int):
    assert isinstance(next_move(record, most), Settle)


@given(records(ended=False), st.integers(1, 6))
def test_every_record_comes_to_an_end_after_finitely_many_crashes(record: Record, most: int):
    """Each attempt leaves a start behind, whatever becomes of it; giving up needs none."""
    for _ in range(most + 3):
        move = next_move(record, most)
        if isinstance(move, Settle):
            return
        letter = "-" if move is Move.GIVE_UP else "x" if move is Move.CANCEL else "s"
        record = appended(record, letter)
    raise AssertionError(f"still going on after {len(record.starts)} starts")


@given(st.integers(1, 6))
def test_attempts_are_followed_by_one_recovery_and_then_nothing_is_touched(most: int):
    moves = [next_move(record_of("a" + "s" * count), most) for count in range(most + 3)]
    assert moves == [Move.BEGIN] * most + [Move.RECOVER] + [Move.GIVE_UP] * 2


@given(records(ended=False))
def test_only_the_newest_fence_stands(record: Record):
    expected = Standing.CANCELLED if record.cancel else Standing.OWNER
    assert standing(record, record.fence) is expected
    for sequence, _ in record.starts[:-1]:
        assert standing(record, sequence) is Standing.FENCED_OFF


@given(records(ended=True))
def test_nobody_owns_what_has_ended(record: Record):
    for fence in (0, record.fence, record.last):
        assert standing(record, fence) is Standing.FENCED_OFF


@given(records(ended=False))
def test_a_start_fences_off_all_that_came_before(record: Record):
    newer = appended(record, "s")
    assert newer.fence > record.fence
    assert standing(newer, record.fence) is Standing.FENCED_OFF
    assert standing(newer, newer.fence) is not Standing.FENCED_OFF


@given(st.none() | st.integers(1, 100), st.integers(1, 100))
def test_it_is_one_commands_turn_at_a_time(head: int | None, mine: int):
    whose = turn(head, mine)
    assert (whose is Turn.MINE) == (head == mine)
    assert (whose is Turn.HOLD) == (head is not None and head < mine)


@given(st.sets(st.integers(1, 50), min_size=1), st.integers(1, 50))
def test_of_all_that_is_stored_exactly_the_first_has_its_turn(stored: set[int], done: int):
    turns = {each: turn(min(stored), each) for each in stored | {done}}
    assert [each for each, whose in turns.items() if whose is Turn.MINE] == [min(stored)]
    assert all(whose is not Turn.PAST for each, whose in turns.items() if each in stored)


def appended(record: Record, letter: str) -> Record:
    made = event(letter, record.fence, len(record.starts) + 1)
    assert not isinstance(made, OperationEnded) or made.fence == record.fence
    return Record((*record.entries, Entry(record.last + 1, made, f"id-{record.last + 1}")))
