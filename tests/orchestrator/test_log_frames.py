import pytest

from services.orchestrator.domain.log_frames import (
    LINE_LENGTH,
    NOT_KEPT,
    Leap,
    LogPosition,
    LogReader,
    Untold,
    nanoseconds,
    since,
)

SECOND = 1_000_000_000


def frame(text: bytes, nanosecond: int = 0, stream: int = 1) -> bytes:
    stamped = b"2026-11-21T08:20:18.%09dZ " % nanosecond + text
    return bytes([stream, 0, 0, 0]) + len(stamped).to_bytes(4, "big") + stamped


def texts(reader: LogReader, *chunks: bytes) -> list[str]:
    return [line.text for chunk in chunks for line in reader.feed(chunk)]


def test_lines_come_with_their_time_and_stream():
    first, second = LogReader().feed(frame(b"out\n", 5) + frame(b"err\r\n", 6, stream=2))
    assert (first.text, first.stream, first.time % SECOND) == ("out", "stdout", 5)
    assert (second.text, second.stream, second.time % SECOND) == ("err", "stderr", 6)


def test_chunks_may_be_cut_anywhere():
    whole = frame("ä first\n".encode(), 1) + frame(b"second\n", 2) + frame(b"", 3)
    reader = LogReader()
    assert texts(reader, *(whole[i : i + 1] for i in range(len(whole)))) == ["ä first", "second", ""]


def test_bytes_that_are_no_text_are_replaced():
    assert texts(LogReader(), frame(b"\xff\xfe\x00ok\n")) == ["\ufffd\ufffd\x00ok"]


def test_a_line_that_the_engine_cut_comes_in_pieces():
    assert texts(LogReader(), frame(b"a" * 16384) + frame(b"b\n")) == ["a" * 16384, "b"]


def stream_from(lines: list[bytes], times: list[int], time: int) -> bytes:
    """As the engine answers: from the first line that is not older."""
    begin = next((i for i, own in enumerate(times) if own >= time), len(times))
    return b"".join(frame(text + b"\n", own) for text, own in list(zip(lines, times, strict=True))[begin:])


@pytest.mark.parametrize("times", [[1, 2, 3, 4, 5], [1, 1, 1, 1, 1], [1, 3, 2, 3, 2], [5, 4, 3, 2, 1], [1, 2, 2, 9, 3]])
def test_reading_goes_on_after_any_line_without_gap_or_repeat(times: list[int]):
    lines = [b"a", b"b", b"c", b"d", b"e"]
    read = LogReader().feed(stream_from(lines, times, 0))
    for number, line in enumerate(read):
        again = LogReader(line.position)
        rest = texts(again, stream_from(lines, times, line.position.time % SECOND))
        assert rest == [text.decode() for text in lines[number + 1 :]]


def test_reading_can_be_broken_off_again_and_again():
    lines, times = [b"a", b"b", b"c", b"d"], [1, 1, 2, 1]
    position, seen = None, []
    for _ in lines:
        time = position.time % SECOND if position else 0
        line = LogReader(position).feed(stream_from(lines, times, time))[0]
        position = line.position
        seen.append(line.text)
    assert seen == ["a", "b", "c", "d"]


def test_when_the_last_line_read_was_rotated_away_nothing_that_is_left_is_skipped():
    position = LogPosition(nanoseconds("2026-11-21T08:20:18.000000001Z"), 3)
    assert texts(LogReader(position), frame(b"later\n", 9)) == [NOT_KEPT, "later"]


def test_lines_that_are_passed_over_are_counted_and_reading_goes_on_exactly():
    """However the bytes are cut; what is given next says how many, and its position is as if all had been given."""
    lines, times = [b"a", b"b", b"c", b"d", b"e", b"f"], [1, 3, 3, 2, 3, 4]
    whole = stream_from(lines, times, 0)
    for cut in range(len(whole) // 2, len(whole)):
        fed, reader = LogReader().feed(whole), LogReader()
        first = reader.feed(whole[: cut // 3])
        reader.skip(whole[cut // 3 : cut])
        rest = reader.feed(whole[cut:])
        skipped = sum(line.skipped for line in rest) or reader.untold.passed
        assert len(first) + skipped + len(rest) == len(lines)
        assert rest == [line._replace(skipped=each.skipped) for line, each in zip(fed[-len(rest) :], rest, strict=True)]
        assert rest[-1].position == fed[-1].position


@pytest.mark.parametrize("passing", [False, True])
@pytest.mark.parametrize(("times", "read"), [([1, 2, 3, 70, 71], 3), ([1, 49, 50, 99, 148], 5), ([1, 60, 109, 158], 4)])
def test_a_reader_that_looks_for_leaps_stops_before_what_comes_after_one(times: list[int], read: int, passing: bool):
    """Fifty or more nanoseconds after the line before, and after the beginning, which is at 20."""
    reader = LogReader()
    reader.feed(frame(b"before\n"))
    reader.leap = Leap(nanoseconds("2026-11-21T08:20:18Z") + 20, 50)
    whole = b"".join(frame(b"x\n", time) for time in times)
    if passing:
        reader.skip(whole)
    else:
        assert len(reader.feed(whole)) == read
    assert reader.untold == Untold(read if passing else 0)
    assert reader.position is not None
    assert reader.position.time % SECOND == times[read - 1]
    assert (reader.leapt_to is not None) == (read < len(times))


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_reader_that_leapt_takes_nothing_more_wherever_its_bytes_are_cut(cut: int):
    reader = LogReader()
    reader.feed(frame(b"before\n"))
    reader.leap = Leap(0, 50)
    whole = frame(b"a\n", 1) + frame(b"b\n", 90) + frame(b"c\n", 91)
    reader.skip(whole[: len(whole) - cut])
    reader.skip(whole[len(whole) - cut :])
    assert reader.feed(whole[len(whole) - cut :]) == []
    assert reader.position is not None
    assert (reader.position.time % SECOND, reader.untold) == (1, Untold(1))


def test_what_was_passed_over_or_lost_before_a_leap_is_told_by_who_reads_on():
    position = LogPosition(nanoseconds("2026-11-21T08:20:18.000000001Z"), 3)
    reader = LogReader(position, untold=Untold(passed=7))
    reader.skip(frame(b"later\n", 9))
    assert reader.lost
    first, second = LogReader(reader.position, untold=reader.untold).feed(frame(b"later\n", 9) + frame(b"next\n", 10))
    assert (first.text, first.skipped, second.text, second.skipped) == (NOT_KEPT, 8, "next", 0)


def test_the_lines_of_a_terminal_are_read_however_they_are_cut_and_on_after_any_of_them():
    """One longer than the engine's own lines comes in pieces, of which the last one alone has an end."""
    begin, long = b"2026-11-21T08:20:18.00000000%dZ ", b"a" * LINE_LENGTH
    stamped = [begin % time for time in (1, 2, 2, 3, 4)]
    pieces = [
        stamped[0] + b"first\r\n",
        stamped[1] + long,
        stamped[2] + b"b\r\n",
        stamped[3] + long + b"\n",
        stamped[4] + b"\n",
    ]
    told = ["first", long.decode(), "b", long.decode(), ""]
    whole = b"".join(pieces)
    for size in (1, 7, 1000, len(whole)):
        reader = LogReader(raw=True)
        assert texts(reader, *(whole[i : i + size] for i in range(0, len(whole), size))) == told
    lines = LogReader(raw=True).feed(whole)
    assert [line.time % SECOND for line in lines] == [1, 2, 2, 3, 4]
    for number, line in enumerate(lines):
        since = next(i for i, each in enumerate(lines) if each.time == line.time)
        reader = LogReader(line.position, raw=True)
        assert texts(reader, b"".join(pieces[since:])) == told[number + 1 :]


OWN, NEXT = b"2026-11-21T08:20:18.123456789Z ", b"2026-11-21T08:20:19.000000000Z "
FORGED = b"2031-01-01T00:00:00.000000000Z "
NO_TEXT = "\ufffd".encode()
HALF = LINE_LENGTH // 2


@pytest.mark.parametrize("size", [1, 1000, 16_415, 200_000])
@pytest.mark.parametrize(
    ("printed", "told"),
    [
        # Half a character at the end of one piece and at the beginning of the next.
        (
            [b"a" + "é".encode() * (HALF - 1) + NO_TEXT, NO_TEXT + b"!\r\n"],
            ["a" + "é" * (HALF - 1) + "\ufffd", "\ufffd!"],
        ),
        # Nothing but bytes that are no text.
        ([NO_TEXT * LINE_LENGTH] * 2 + [b"\r\n"], ["\ufffd" * LINE_LENGTH] * 2 + [""]),
        # What looks like a time where the engine would have cut a line that is text.
        ([NO_TEXT * 5461 + b"x" + FORGED + b"forged\r\n"], ["\ufffd" * 5461 + "x" + FORGED.decode() + "forged"]),
        (
            [NO_TEXT * 6000 + FORGED * 333, FORGED + b"\r\n"],
            ["\ufffd" * 6000 + (FORGED * 333).decode(), FORGED.decode()],
        ),
        (
            [NO_TEXT * 6000 + b"2031-99-99T00:00:00.000000000Z \r\n"],
            ["\ufffd" * 6000 + "2031-99-99T00:00:00.000000000Z "],
        ),
    ],
)
def test_a_line_of_a_terminal_is_cut_only_where_the_engine_cut_it(printed: list[bytes], told: list[str], size: int):
    whole = b"".join(OWN + piece for piece in printed) + NEXT + b"after\r\n"
    for passing in (False, True):
        reader = LogReader(raw=True)
        parts = [whole[i : i + size] for i in range(0, len(whole), size)]
        if passing:
            for part in parts:
                reader.skip(part)
            assert reader.untold == Untold(len(told) + 1)
        else:
            assert texts(reader, *parts) == [*told, "after"]
        assert reader.position == LogPosition(nanoseconds(NEXT.decode().strip()), 1)


@pytest.mark.parametrize("size", [1000, 200_000])
@pytest.mark.parametrize("before", range(49_000, 49_200, 7))
def test_a_line_that_a_terminal_never_ended_gives_no_time_to_what_is_printed_next(before: int, size: int):
    """The engine cuts the lines of a run that ends in the midst of one from those of the next by nothing."""
    whole = OWN + b"a" * before + NEXT + FORGED * 1600 + b"\r\n" + NEXT + b"after\r\n"
    reader = LogReader(raw=True)
    lines = [line for i in range(0, len(whole), size) for line in reader.feed(whole[i : i + size])]
    assert {line.time for line in lines} == {nanoseconds(each.decode().strip()) for each in (OWN, NEXT)}
    assert (lines[-1].text, lines[-1].time) == ("after", nanoseconds(NEXT.decode().strip()))


def test_what_a_terminal_prints_is_read_also_where_no_engine_gave_it_a_time():
    reader = LogReader(raw=True)
    lines = reader.feed(b"no time\r\n" + OWN + b"one\r\n" + b"2031-02-31T00:00:00.000000000Z none\r\n" + b"\r\n")
    assert [line.text for line in lines] == ["no time", "one", "2031-02-31T00:00:00.000000000Z none", ""]
    assert [line.time for line in lines] == [0, *[nanoseconds(OWN.decode().strip())] * 3]


def test_what_the_engine_itself_says_in_a_log_is_a_line_at_the_time_of_the_one_before():
    said = b"Error grabbing logs: unexpected EOF\n"
    whole = frame(b"one\n", 5) + b"\x03\x00\x00\x00" + len(said).to_bytes(4, "big") + said
    lines = LogReader().feed(whole)
    assert [line.text for line in lines] == ["one", "Error grabbing logs: unexpected EOF"]
    assert [line.time % SECOND for line in lines] == [5, 5]
    reader = LogReader()
    reader.feed(frame(b"zero\n", 4))
    reader.skip(whole)
    assert (reader.untold, reader.position) == (Untold(2), lines[-1].position)


def test_what_is_no_log_stream_is_refused():
    with pytest.raises(ValueError, match="not framed"):
        LogReader().feed(b"plain text from a terminal\r\n")


def test_times_keep_their_nanoseconds_both_ways():
    time = nanoseconds("2026-11-21T08:20:18.123456789Z")
    assert time == 1_795_249_218_123_456_789
    assert since(time) == "1795249218.123456789"
    assert nanoseconds("2026-11-21T10:20:18.123456789+02:00") == time
    assert nanoseconds("2026-11-21T08:20:18Z") == time - 123_456_789
    assert since(1_000_000_001) == "1.000000001"
