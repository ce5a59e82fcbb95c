"""Lines come out the same however the bytes were cut on their way."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from libs.runtime.line_splitter import LineSplitter

TEXTS = st.text(alphabet="ab\r\nü\u2028", max_size=40)


def split(chunks: list[bytes], longest: int = 1000) -> list[str]:
    splitter = LineSplitter(longest)
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.feed(b"", last=True)


@given(TEXTS, st.lists(st.integers(0, 80), max_size=6))
def test_lines_do_not_depend_on_where_the_bytes_are_cut(text: str, cuts: list[int]):
    data = text.encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[start:end] for start, end in pairwise(edges)]
    whole = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert split(chunks) == (whole if whole[-1] else whole[:-1])


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_no_line_is_longer_than_allowed_and_no_bytes_break_it(chunks: list[bytes]):
    lines = split(chunks, longest=3)
    assert all(len(line) <= 3 for line in lines)
    assert not any("\n" in line or "\r" in line for line in lines)


def test_a_progress_meter_shows_each_of_its_steps_at_once():
    splitter = LineSplitter(100)
    assert splitter.feed(b"10%\r") == ["10%"]
    assert splitter.feed(b"20%\r\n") == ["20%"]
    assert splitter.feed(b"done") == []
    assert splitter.feed(b"", last=True) == ["done"]
