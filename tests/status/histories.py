"""Any order of any events about a few tools: also orders that a bus would not let happen."""

from __future__ import annotations

from hypothesis import strategies as st

from libs.contracts.envelope import Message
from libs.contracts.tools import ToolState
from tests.status.stories import Operation, connected, lost, observed, tool

NAMES = ("alpha", "beta")
KINDS = ("install", "build", "start", "stop", "restart", "uninstall")
STEPS = ("fetch", "build", "start", "stop", "remove")
STATES = (ToolState.RUNNING, ToolState.STOPPED, ToolState.FAILED, ToolState.DEGRADED)

fences = st.integers(0, 40)
seconds = st.integers(0, 1000)


@st.composite
def operation_events(draw: st.DrawFn) -> Message:
    name = draw(st.sampled_from(NAMES))
    operation = Operation(draw(st.sampled_from(KINDS)), name, number=draw(st.integers(0, 1)))
    fence, when = draw(fences), draw(seconds)
    step = draw(st.sampled_from(STEPS))
    state = tool(name, draw(st.sampled_from(STATES)), since=when)
    effect = draw(st.sampled_from(("changed", "removed", "none")))
    kept = state if effect == "changed" else None
    choices = (
        operation.accepted(when),
        operation.started(1, when),
        operation.cancel(),
        operation.begins(step, fence, when),
        operation.ends(step, fence, when),
        operation.succeeded(fence, kept, when),
        operation.failed(fence, effect, kept, when),
        operation.cancelled(fence, effect, kept),
    )
    return draw(st.sampled_from(choices))


@st.composite
def engine_events(draw: st.DrawFn) -> Message:
    name, when = draw(st.sampled_from(NAMES)), draw(seconds)
    seen = observed(name, draw(st.sampled_from(STATES)), judged_by=draw(fences), seconds=when)
    return draw(st.sampled_from((seen, lost(when), connected(when))))


events = operation_events() | engine_events()
histories = st.lists(events, max_size=60)
