"""What a live connection can be about, and which subjects that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from libs.contracts.names import is_operation_id
from libs.contracts.source import shown
from libs.contracts.streams import EVENTS
from libs.contracts.subjects import LOG, RECORD, STEP, TOOL_ENGINE

MOST_TOPICS = 32


class BadTopic(ValueError):
    """Something that cannot be followed; the text says what can."""


KINDS = ("tools", "tool", "operation", "logs", "states", "state")
_ALL = ("tools", "states")
_THERE_ARE = "there are tools, tool:<tool>, operation:<id>, logs:<tool>, states and state:<tool>"


@dataclass(frozen=True)
class Topics:
    """As they were asked for: operations by id; the events, logs and states of tools by name or id."""

    tools: bool
    tool: tuple[str, ...]
    operations: tuple[str, ...]
    logs: tuple[str, ...]
    states: bool
    state: tuple[str, ...]


def parse_topics(asked: Sequence[str]) -> Topics:
    if not asked:
        raise BadTopic(f"no topic is asked for; name at least one: {_THERE_ARE}")
    if len(asked) > MOST_TOPICS:
        raise BadTopic(f"{len(asked)} topics are asked for; one connection takes {MOST_TOPICS}")
    kinds: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for topic in asked:
        kind, colon, what = topic.partition(":")
        if kind not in kinds or (kind in _ALL) == bool(colon) or (kind not in _ALL) != bool(what):
            raise BadTopic(f"there is no topic {shown(topic)}; {_THERE_ARE}")
        kinds[kind].append(what)
    tool, operations, logs, state = (_once(kinds[kind]) for kind in ("tool", "operation", "logs", "state"))
    return Topics(bool(kinds["tools"]), tool, operations, logs, bool(kinds["states"]), state)


def _once(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


EVERYTHING = "*"


def keys_of_event(subject: str) -> tuple[str, ...]:
    """What an event with this subject is about: everything, and the ids of its tool and operation."""
    for form in (RECORD, STEP, TOOL_ENGINE):
        if form.takes(subject):
            return (EVERYTHING, *form.parse(subject).values())
    return (EVERYTHING,)


@dataclass(frozen=True)
class Followed:
    """`operations` maps each to its tool's id; `tool`, `logs` and `state` are ids of tools."""

    tools: bool = False
    tool: frozenset[str] = frozenset()
    operations: Mapping[str, str] = field(default_factory=dict[str, str])
    logs: frozenset[str] = frozenset()
    states: bool = False
    state: frozenset[str] = frozenset()

    @property
    def operation_events(self) -> tuple[str, ...]:
        return tuple(
            form.build({"tool": tool, "operation": operation})
            for operation, tool in self.operations.items()
            for form in (RECORD, STEP)
        )

    @property
    def events(self) -> tuple[str, ...]:
        """Subjects that do not overlap."""
        if self.tools:
            return EVENTS.subjects
        whole = (form.filter(tool=tool) for tool in sorted(self.tool) for form in (RECORD, STEP, TOOL_ENGINE))
        others = {id: tool for id, tool in self.operations.items() if tool not in self.tool}
        return (*whole, *Followed(operations=others).operation_events)

    @property
    def event_keys(self) -> frozenset[str]:
        """As `keys_of_event` has them: an event is wanted that has one of these."""
        return frozenset((EVERYTHING,)) if self.tools else self.tool | frozenset(self.operations)

    @property
    def operation_lines(self) -> tuple[str, ...]:
        return tuple(LOG.build({"tool": tool, "source": operation}) for operation, tool in self.operations.items())

    @property
    def lines(self) -> tuple[str, ...]:
        """Subjects that do not overlap; `wants` tells which messages under them are really meant."""
        others = (
            LOG.build({"tool": tool, "source": operation})
            for operation, tool in self.operations.items()
            if tool not in self.logs
        )
        return (*(LOG.filter(tool=tool) for tool in sorted(self.logs)), *others)

    def wants(self, tool: str, source: str) -> bool:
        if is_operation_id(source):
            return source in self.operations
        return tool in self.logs
