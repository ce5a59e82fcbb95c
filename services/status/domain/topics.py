"""What a live connection can be about, and which subjects that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from libs.contracts.names import is_operation_id
from libs.contracts.source import shown
from libs.contracts.streams import EVENTS
from libs.contracts.subjects import LOG, RECORD, STEP

MOST_TOPICS = 32


class BadTopic(ValueError):
    """Something that cannot be followed; the text says what can."""


@dataclass(frozen=True)
class Topics:
    """As they were asked for: operations by id, logs by a tool's name or id."""

    tools: bool
    operations: tuple[str, ...]
    logs: tuple[str, ...]


def parse_topics(asked: Sequence[str]) -> Topics:
    if not asked:
        raise BadTopic("no topic is asked for; name at least one: tools, operation:<id>, logs:<tool>")
    if len(asked) > MOST_TOPICS:
        raise BadTopic(f"{len(asked)} topics are asked for; one connection takes {MOST_TOPICS}")
    kinds: dict[str, list[str]] = {"tools": [], "operation": [], "logs": []}
    for topic in asked:
        kind, colon, what = topic.partition(":")
        if kind not in kinds or (kind == "tools") == bool(colon) or (kind != "tools") != bool(what):
            raise BadTopic(f"there is no topic {shown(topic)}; there are tools, operation:<id> and logs:<tool>")
        kinds[kind].append(what)
    return Topics(bool(kinds["tools"]), _once(kinds["operation"]), _once(kinds["logs"]))


def _once(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


@dataclass(frozen=True)
class Followed:
    """`operations` maps each to its tool's id; `logs` are ids of tools."""

    tools: bool = False
    operations: Mapping[str, str] = field(default_factory=dict[str, str])
    logs: frozenset[str] = frozenset()

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
        return EVENTS.subjects if self.tools else self.operation_events

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
