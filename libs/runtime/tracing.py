"""W3C trace context: which request, command and task belong together, over HTTP and the bus.

Only the ids travel and stand in the logs; no spans are recorded. A trace is passed on as a
`traceparent` header: `version-trace id-span id-flags`, all lower-case hexadecimal.
"""

import os
import re
from contextvars import ContextVar
from dataclasses import dataclass, replace

HEADER = "traceparent"

_TRACEPARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)


@dataclass(frozen=True, slots=True)
class Trace:
    """One place in a trace: `trace_id` is shared by all of it, `span_id` is this place."""

    trace_id: str
    span_id: str
    flags: str = "01"

    @property
    def header(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    def child(self) -> "Trace":
        return replace(self, span_id=os.urandom(8).hex())


_current: ContextVar[Trace | None] = ContextVar("machete_trace", default=None)


def new() -> Trace:
    word = os.urandom(24).hex()
    return Trace(trace_id=word[:32], span_id=word[32:])


def parse(header: str | None) -> Trace | None:
    """What the header says, or None where it says nothing valid: a bad one starts a new trace, as W3C asks.

    Version 00 has exactly four fields; a later version may have more, which are left aside.
    """
    found = _TRACEPARENT.fullmatch(header) if header else None
    if found is None or (found["version"] == "00" and found["rest"]):
        return None
    return Trace(trace_id=found["trace"], span_id=found["span"], flags=found["flags"])


def continued(header: str | None) -> Trace:
    """A child of what the header says, or a new trace."""
    parent = parse(header)
    return parent.child() if parent else new()


def current() -> Trace | None:
    return _current.get()


class within:
    """`with within(trace)`: what is logged and published inside belongs to this trace.

    May be entered in one task and left in another, as generators sometimes are.
    """

    __slots__ = ("_before", "_trace")

    def __init__(self, trace: Trace | None) -> None:
        self._trace = trace

    def __enter__(self) -> None:
        self._before = _current.get()
        _current.set(self._trace)

    def __exit__(self, *_: object) -> None:
        _current.set(self._before)
