"""Trace context as W3C describes it."""

import pytest

from libs.runtime import tracing

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_header_survives_the_way_through() -> None:
    header = f"00-{TRACE}-{SPAN}-01"
    trace = tracing.parse(header)
    assert trace is not None
    assert trace.header == header


def test_a_child_belongs_to_the_same_trace() -> None:
    parent = tracing.new()
    child = parent.child()
    assert (child.trace_id, child.flags) == (parent.trace_id, parent.flags)
    assert child.span_id != parent.span_id
    assert tracing.parse(child.header) == child


def test_a_later_version_may_say_more() -> None:
    trace = tracing.parse(f"cc-{TRACE}-{SPAN}-00-what-the-future-brings")
    assert trace == tracing.Trace(TRACE, SPAN, "00")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_a_bad_header_starts_a_new_trace(header: str | None) -> None:
    assert tracing.parse(header) is None
    assert tracing.continued(header).trace_id != TRACE


def test_what_was_current_before_is_current_after() -> None:
    outer, inner = tracing.new(), tracing.new()
    with tracing.within(outer):
        with tracing.within(inner):
            assert tracing.current() == inner
        assert tracing.current() == outer
    assert tracing.current() is None
