"""What is read once for many is bounded; each is given what it wants, in order, or told that it lies here no more."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.contracts.envelope import envelop
from libs.contracts.logs import CHUNK_LINES
from libs.contracts.streams import EVENTS
from libs.contracts.subjects import LOG
from libs.runtime.bus.reader import Discarded, Replaced
from libs.runtime.bus.stored import Kept
from services.status.domain.topics import EVERYTHING
from services.status.feeds import STEP, Feed, Room, Tap
from services.status.frames import Encoder, Entry
from tests.status.service import chunk

TOOLS = ("a", "b", "c")
ROOM = Room(messages=2 * STEP, size=100_000)
ALL = Room(messages=50, size=1_000_000)


def entry(sequence: int, tool: str, size: int = 10) -> Entry:
    return Entry(Kept(sequence, f"machete.evt.v1.tool.{tool}.engine", b"x" * size), (EVERYTHING, tool))


@dataclass
class Client:
    """Sleeps once there was nothing to take, until it is woken; where it is behind, reads what was ever stored."""

    keys: frozenset[str]
    place: int = 0
    told: list[int] = field(default_factory=list[int])
    behind: int = 0
    woken: int = 0
    awake: bool = True

    def __post_init__(self) -> None:
        self.tap = Tap(self.keys, self.wake)

    def wake(self) -> None:
        self.woken += 1
        self.awake = True

    def take(self, feed: Feed, stored: list[Entry], most: Room) -> None:
        self.awake = False
        taken = feed.take(self.tap, self.place, most)
        if taken is None:
            self.behind += 1
            self.told += [each.sequence for each in stored if each.sequence > self.place and self.wants(each)]
            self.place = max(self.place, feed.head)
            feed.join(self.tap, self.place)
            self.awake = True
            return
        found, self.place = taken
        self.awake = bool(found)
        self.told += [each.sequence for each in found]

    def wants(self, entry: Entry) -> bool:
        return not self.keys.isdisjoint(entry.keys)


steps = st.lists(
    st.tuples(st.just("put"), st.integers(1, 3 * STEP), st.sampled_from(TOOLS))
    | st.tuples(st.just("take"), st.integers(1, 40), st.integers(0, 3).map(str)),
    max_size=40,
)


@given(steps=steps)
def test_everybody_is_told_all_that_he_wants_once_and_in_order(steps: list[tuple[str, int, str]]) -> None:
    feed, stored = Feed(EVENTS, EVENTS.subjects, ROOM), list[Entry]()
    clients = [Client(frozenset((each,))) for each in (*TOOLS, EVERYTHING)]
    for client in clients:
        feed.join(client.tap, 0)
    for what, number, which in steps:
        if what == "take":
            if clients[int(which)].awake:
                clients[int(which)].take(feed, stored, Room(number, 200))
            continue
        for offset in range(number):
            each = entry(feed.head + 1 + offset % 2, TOOLS[(TOOLS.index(which) + offset // 7) % 3])
            stored.append(each)
            feed.put(each)
    for client in clients:
        while client.awake:
            client.take(feed, stored, ALL)
        assert client.told == [each.sequence for each in stored if client.wants(each)]
        assert feed.take(client.tap, client.place, ALL) == ([], feed.head)


def test_what_lies_here_is_bounded_in_number_and_bytes_whoever_is_slow() -> None:
    feed = Feed(EVENTS, EVENTS.subjects, ROOM)
    slow = Client(frozenset((EVERYTHING,)))
    feed.join(slow.tap, 0)
    most = 0
    for sequence in range(1, 5_000):
        feed.put(entry(sequence, "a", size=10 if sequence < 2_500 else 5_000))
        most = max(most, feed.size)
    assert most <= ROOM.size + 5_000
    assert feed.head - feed.floor <= ROOM.messages
    assert feed.take(slow.tap, slow.place, ALL) is None


def test_what_is_taken_at_once_is_bounded_in_bytes_and_never_nothing() -> None:
    feed = Feed(EVENTS, EVENTS.subjects, ROOM)
    client = Client(frozenset((EVERYTHING,)))
    feed.join(client.tap, 0)
    for sequence, size in enumerate((400, 400, 400, 5_000, 400), 1):
        feed.put(entry(sequence, "a", size))
    taken: list[list[int]] = []
    while client.awake:
        before = len(client.told)
        client.take(feed, [], Room(50, 500))
        taken.append(client.told[before:])
    assert taken == [[1, 2], [3, 4], [5], []]


def test_lines_that_were_sent_take_three_times_their_bytes_at_most_while_they_lie_here() -> None:
    """Of each line by itself they would take seven times as much."""
    raw = [
        envelop(chunk("sample-abcdef", "main", number, CHUNK_LINES), "test/1").encode()
        for number in range(0, 8 * CHUNK_LINES, CHUNK_LINES)
    ]
    entries = [
        Entry(Kept(number, LOG.build({"tool": "sample-abcdef", "source": "main"}), each))
        for number, each in enumerate(raw, 1)
    ]
    tracemalloc.start()
    try:
        for each in entries:
            assert each.printed is not None
            assert len(each.printed.lines) == CHUNK_LINES
        more, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert more < 2 * sum(len(each) for each in raw)


def test_who_has_waited_long_for_something_of_his_own_is_not_behind_for_that() -> None:
    feed = Feed(EVENTS, EVENTS.subjects, ROOM)
    patient = Client(frozenset(("b",)))
    feed.join(patient.tap, 0)
    for sequence in range(1, 1_000):
        feed.put(entry(sequence, "a"))
    assert patient.woken == 0
    feed.put(entry(1_000, "b"))
    assert patient.woken == 1
    patient.take(feed, [], ALL)
    assert (patient.told, patient.behind, patient.place) == ([1_000], 0, 1_000)


def test_what_was_discarded_sends_everybody_to_look_for_himself() -> None:
    feed = Feed(EVENTS, EVENTS.subjects, ROOM)
    client = Client(frozenset(("b",)))
    feed.join(client.tap, 0)
    feed.put(entry(1, "a"))
    feed.skip(Discarded(1, 7))
    assert client.woken == 1
    assert feed.take(client.tap, client.place, ALL) is None


def test_who_left_is_woken_no_more() -> None:
    feed = Feed(EVENTS, EVENTS.subjects, ROOM)
    client = Client(frozenset(("a", "b")))
    feed.join(client.tap, 0)
    feed.leave(client.tap)
    feed.put(entry(1, "a"))
    assert client.woken == 0


def test_what_broke_a_feed_breaks_all_who_take_from_it() -> None:
    feed = Feed(EVENTS, EVENTS.subjects, ROOM)
    client = Client(frozenset(("a",)))
    feed.join(client.tap, 0)
    feed.fail(Replaced("EVENTS was made anew"))
    assert client.woken == 1
    with pytest.raises(Replaced, match="made anew"):
        feed.take(client.tap, 0, ALL)


def test_a_frame_is_made_once_for_all_who_stand_in_the_same_place() -> None:
    encoder = Encoder()
    same = entry(1, "a"), entry(2, "b")
    for each in same:
        each.__dict__["event"] = '{"id": 1}'
    first, second = encoder.events("c", same), encoder.events("c", list(same))
    assert first is second
    assert first == '{"cursor":"c","events":[{"id": 1},{"id": 1}]}'
    assert encoder.event("c", same[0]) is encoder.event("c", same[0])
    assert encoder.events("c", same[:1]) != encoder.event("c", same[0])
    assert encoder.events("d", same) != first
