"""YAML as Compose might read it: everything that could be found in a file, and nothing that parsers part over.

Compose's parser and ours are two. What one of them may see and the other not is refused here: odd encodings and
line breaks, tags, directives, keys that are no plain words. Where Compose chooses (a key or the one it takes over
from elsewhere), both are kept, so that whoever looks for a path finds all that Compose could open.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NoReturn

import yaml

from libs.contracts.problems import Failure
from libs.contracts.written import Fault, found_text

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 60
MAX_NODES = 100_000

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")}
_COMPOSE_TAGS = {"!reset", "!override"}
# Controls, a carriage return alone, NEL, LS, PS and byte order marks: breaks to some parsers and not to others.
_ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff]|\r(?!\n)")


@dataclass(frozen=True, eq=False)
class Node:
    """A scalar has only `text`, a list only `items`, a mapping only `pairs`: with what it takes over by `<<`.

    `tagged` by `!reset` or `!override`, it may be gone when Compose has merged its files.
    """

    line: int
    text: str | None = None
    items: tuple["Node", ...] | None = None
    pairs: tuple[tuple[str, "Node"], ...] | None = None
    empty: bool = False
    tagged: bool = False

    def named(self, key: str) -> Iterator["Node"]:
        """All that stands under a key, however it is cased: Compose's decoder takes `PATH` for `path`."""
        return (node for name, node in self.pairs or () if name.casefold() == key)

    def texts(self) -> Iterator["Node"]:
        """The scalars of a single value or of a list."""
        yield from (self,) if self.items is None else self.items


def read_documents(raw: bytes, file: str) -> tuple[Node, ...]:
    """Every document of a file. Raises `Failure` with code `compose_invalid`, with file and line."""
    text = _decoded(raw, file)
    try:
        return tuple(_Reader(text, file).documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        last = text.rstrip().count("\n") + 1
        invalid(
            file, min(mark.line + 1, last) if mark else None, f"this is no YAML: {error.problem or 'it cannot be read'}"
        )
    except yaml.YAMLError as error:
        invalid(file, None, f"this is no YAML: {error}")


def invalid(file: str, line: int | None, rule: str, key: str = "") -> NoReturn:
    fault = Fault(file, line, key, None, rule)
    raise Failure("compose_invalid", f"{fault}.", {"file": file, "line": line})


def _decoded(raw: bytes, file: str) -> str:
    if len(raw) > MAX_BYTES:
        invalid(file, None, f"the file is larger than {MAX_BYTES // 1024} KiB, which is the most it may be")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        invalid(file, line, f"byte {raw[error.start]:#04x} is no UTF-8; save the file as UTF-8")
    if odd := _ODD.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        invalid(file, line, f"the character U+{ord(odd[0][0]):04X} is not read; take it out, or write it as an escape")
    return text


@dataclass
class _Reader:
    text: str
    file: str
    _nodes: int = 0
    _anchors: dict[str, tuple[Node, int]] = field(default_factory=dict[str, tuple[Node, int]])

    def documents(self) -> Iterator[Node]:
        self._events: Iterator[yaml.Event] = yaml.parse(self.text, Loader=_LOADER)
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if event.version or event.tags:
                    self._stop(event, "lines that begin with % are not read; leave them out")
                self._anchors.clear()
                yield self._node(next(self._events), 1)

    def _node(self, event: yaml.Event, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self._stop(event, f"this is nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self._nodes
        self._spend(event, 1)
        self._check_tag(event)
        if isinstance(event, yaml.MappingStartEvent):
            node = self._mapping(event, depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            assert isinstance(event, yaml.ScalarEvent)
            node = _scalar(event)
        if getattr(event, "tag", None) in _COMPOSE_TAGS:
            node = replace(node, tagged=True)
        anchor: str | None = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = (node, self._nodes - before)
        return node

    def _alias(self, event: yaml.AliasEvent) -> Node:
        """Paid for in full each time, so that aliases of aliases cannot grow without end."""
        anchor = str(event.anchor)
        if anchor not in self._anchors:
            self._stop(event, f"*{anchor} stands for nothing that ended before it")
        node, size = self._anchors[anchor]
        self._spend(event, size)
        return node

    def _mapping(self, start: yaml.Event, depth: int) -> Node:
        own: dict[str, Node] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.anchor:
                self._stop(event, "a key is a plain word, without anchor or alias")
            self._spend(event, 1)
            self._check_tag(event)
            key = str(event.value)
            if key in own:
                self._stop(event, f"the key {found_text(key)} stands twice, first on line {lines[key]}; keep one")
            own[key] = self._node(next(self._events), depth + 1)
            lines[key] = _line(event)
        merged = own.pop("<<", None)
        taken = tuple(self._taken(merged)) if merged is not None else ()
        return Node(_line(start), pairs=(*own.items(), *taken))

    def _taken(self, merged: Node) -> Iterator[tuple[str, Node]]:
        for other in merged.texts():
            if other.pairs is None or other.tagged or merged.tagged:
                invalid(self.file, other.line, "<< takes over a mapping, or a list of mappings, without a tag")
            yield from other.pairs

    def _sequence(self, start: yaml.Event, depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return Node(_line(start), items=tuple(items))

    def _check_tag(self, event: yaml.Event) -> None:
        tag: str | None = getattr(event, "tag", None)
        if tag is not None and tag not in _TAGS and tag not in _COMPOSE_TAGS:
            self._stop(event, f"the tag {found_text(tag)} is not read; write the value without it")

    def _spend(self, event: yaml.Event, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            self._stop(event, f"with its aliases the file holds more than {MAX_NODES} values")

    def _stop(self, event: yaml.Event, rule: str) -> NoReturn:
        invalid(self.file, _line(event), rule)


def _scalar(event: yaml.ScalarEvent) -> Node:
    text = str(event.value)
    empty = not event.style and text in ("", "~", "null", "Null", "NULL")
    return Node(_line(event), text=text, empty=empty)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
