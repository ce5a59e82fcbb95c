"""A cursor holds what must be known to go on, fits into a request, and is taken from nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.status.domain.cursors import LONGEST, MOST_SOURCES, Place, parse_cursor
from services.status.domain.pages import BadCursor, pack
from services.status.domain.topics import MOST_TOPICS, Followed, keys_of_event, parse_topics
from tests.status.service import chunk, printed
from tests.status.stories import Operation, lost, observed, tool_named

counts = st.integers(0, 2**63)


@given(
    st.text(max_size=8),
    st.none() | counts,
    st.none() | counts,
    st.dictionaries(st.text(max_size=20), counts, max_size=5),
    st.none() | counts,
)
def test_a_place_comes_back_from_its_cursor(
    epoch: str, events: int | None, lines: int | None, numbers: dict[str, int], states: int | None
) -> None:
    place = Place(epoch, events, lines, numbers, states)
    assert parse_cursor(place.cursor()) == place


def test_a_cursor_of_before_there_were_states_is_still_taken() -> None:
    assert parse_cursor(pack(["abc", 7, 8, {"x.main": 9}])) == Place("abc", 7, 8, {"x.main": 9})


@given(st.text(max_size=60) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(pack))
def test_any_other_word_is_no_cursor(word: str) -> None:
    with pytest.raises(BadCursor):
        parse_cursor(word)


def test_the_longest_cursor_can_be_handed_back() -> None:
    place = Place("a" * 8, 2**40, 2**40)
    operations = [Operation(name="n" * 40, number=number, kind="start") for number in range(1, MOST_TOPICS + 1)]
    for number in range(100):
        place = place.after_lines(2**40, chunk(tool_named("n" * 40), f"{number:0128}", 2**40))
    for operation in operations:
        place = place.after_lines(2**40, printed(operation, 2**40))
    assert len(place.next_line) == MOST_SOURCES
    assert set(place.next_line) == {operation.id for operation in operations}
    assert len(place.cursor()) <= LONGEST
    assert parse_cursor(place.cursor()) == place


def test_lines_of_a_source_that_began_again_are_no_gap() -> None:
    operation = Operation()
    place = Place("e", 0, 0).after_lines(1, printed(operation, 0, 50))
    assert place.before(printed(operation, 0), from_the_start=True) is None
    assert place.before(printed(operation, 50), from_the_start=True) is None
    gap = place.before(printed(operation, 60), from_the_start=True)
    assert gap is not None
    assert gap.missed == 10


def test_of_a_source_not_met_before_only_an_operations_can_be_missing() -> None:
    operation, place = Operation(), Place("e", 0, 0)
    gap = place.before(printed(operation, 7), from_the_start=True)
    assert gap is not None
    assert gap.missed == 7
    assert place.before(chunk(operation.tool, "main", 7), from_the_start=False) is None


def test_subjects_followed_never_overlap() -> None:
    """The server refuses a reader whose subjects do."""
    install, other = Operation(), Operation(name="other")
    operations = {install.id: install.tool, other.id: other.tool}
    followed = Followed(operations=operations, logs=frozenset({install.tool}))
    assert sorted(followed.lines) == sorted(
        [f"machete.log.v1.{install.tool}.*", f"machete.log.v1.{other.tool}.{other.id}"]
    )
    assert followed.wants(install.tool, "main")
    assert followed.wants(install.tool, install.id)
    assert not followed.wants(install.tool, Operation("start").id)
    assert not followed.wants(other.tool, "main")


def test_topics_asked_for_twice_are_followed_once() -> None:
    topics = parse_topics(
        ["logs:a", "tools", "logs:a", "operation:x", "tools", "tool:b", "states", "state:c", "tool:b"]
    )
    assert (topics.tools, topics.operations, topics.logs) == (True, ("x",), ("a",))
    assert (topics.tool, topics.states, topics.state) == (("b",), True, ("c",))


def test_an_event_is_wanted_by_who_would_read_its_subject() -> None:
    install, other = Operation(), Operation(name="other")
    subjects = [
        message.subject
        for operation in (install, other)
        for message in (operation.accepted(), operation.begins("build", 1), observed(operation.name))
    ]
    subjects.append(lost().subject)
    ways = (
        Followed(tools=True, tool=frozenset({install.tool})),
        Followed(tool=frozenset({install.tool}), operations={install.id: install.tool}),
        Followed(tool=frozenset({install.tool}), operations={other.id: other.tool}),
        Followed(operations={other.id: other.tool}),
    )
    for followed in ways:
        read = [subject for subject in subjects if any(taken(subject, each) for each in followed.events)]
        keyed = [subject for subject in subjects if not followed.event_keys.isdisjoint(keys_of_event(subject))]
        assert read == keyed
        assert read
    assert len({len(followed.events) for followed in ways}) > 1


def taken(subject: str, wanted: str) -> bool:
    """As NATS matches a subject with `*` in what is wanted."""
    both = zip(subject.split("."), wanted.split("."), strict=False)
    return subject.count(".") == wanted.count(".") and all(two in (one, "*") for one, two in both)
