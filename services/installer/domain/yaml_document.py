"""YAML, read for its meaning and its lines: the core of YAML 1.2, with aliases and merge keys, without tags.

`yes`, `010` and `2024-01-01` are texts, as their authors mean them; a number keeps the digits it was typed with.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import yaml

from libs.contracts.written import Scalar, Written, found_text
from services.installer.domain.limits import Budget

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_TAGS = {f"{_TAG}{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")}
_INTEGER = re.compile(r"[-+]?\d{1,18}")
_FLOAT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_LONGEST_NUMBER = 400  # no finite number needs more digits
_WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
_MERGE = "<<"


def read_yaml(text: str, budget: Budget) -> Written:
    """The one document of the text. Raises `InvalidManifest` where it is none; lesser faults go to the budget."""
    try:
        return _Reader(text, budget).document()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        budget.stop(line, _syntax_rule(text, line, error.problem))
    except yaml.YAMLError as error:
        budget.stop(1, f"this is no YAML: {error}")


class _Reader:
    def __init__(self, text: str, budget: Budget):
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._budget = budget
        self._anchors: dict[str, tuple[Written, int, int]] = {}

    def document(self) -> Written:
        next(self._events)  # the stream's start
        if not isinstance(next(self._events), yaml.DocumentStartEvent):
            self._budget.stop(1, "there is nothing but comments; a manifest has keys like name and machete")
        whole = self._node(next(self._events), 1)
        next(self._events)  # the document's end
        after = next(self._events)
        if isinstance(after, yaml.DocumentStartEvent):
            self._budget.stop(_line(after), "a second document starts here; a manifest is one")
        return whole

    def _node(self, event: yaml.Event, depth: int) -> Written:
        line = _line(event)
        self._budget.check_depth(depth, line)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, line)
        nodes, characters = self._budget.nodes, self._budget.characters
        self._budget.spend(line)
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in _TAGS and tag != "!":
            self._budget.stop(line, f"the tag {found_text(tag)} is not read; write the value without it")
        if isinstance(event, yaml.MappingStartEvent):
            node = self._mapping(line, depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(line, depth)
        else:
            assert isinstance(event, yaml.ScalarEvent)
            node = self._scalar(event, line)
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            spent = (self._budget.nodes - nodes, self._budget.characters - characters)
            self._anchors[anchor] = (node, *spent)
        return node

    def _alias(self, event: yaml.AliasEvent, line: int) -> Written:
        anchor = str(event.anchor)
        if anchor not in self._anchors:
            self._budget.stop(line, f"*{anchor} stands for nothing that ended before it")
        node, nodes, characters = self._anchors[anchor]
        self._budget.spend(line, nodes=nodes, characters=characters)
        return replace(node, line=line)

    def _mapping(self, line: int, depth: int) -> Written:
        items: dict[str, Written] = {}
        merged: list[Written] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key_line = _line(event)
            if not isinstance(event, yaml.ScalarEvent):
                self._budget.stop(key_line, "a key is a single word or text")
            key = self._node(event, depth + 1).text
            value = replace(self._node(next(self._events), depth + 1), line=key_line)
            if key == _MERGE and not event.style:
                merged += value.value if isinstance(value.value, tuple) else (value,)
            elif key in items:
                rule = f"this key stands twice, first on line {items[key].line}; keep one"
                self._budget.note(key_line, rule, key=found_text(key))
            else:
                items[key] = value
        return Written(self._with_merged(items, merged), line)

    def _with_merged(self, items: dict[str, Written], merged: list[Written]) -> dict[str, Written]:
        """What a mapping says itself counts before what it takes over, the first taken over before the next."""
        for other in merged:
            if not isinstance(other.value, Mapping):
                self._budget.note(other.line, "<< takes over a mapping, or a list of mappings")
                continue
            items = {**other.value, **items}
        return items

    def _sequence(self, line: int, depth: int) -> Written:
        entries: list[Written] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            entries.append(self._node(event, depth + 1))
        return Written(tuple(entries), line)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Written:
        text = str(event.value)
        self._budget.spend(line, nodes=0, characters=len(text))
        self._budget.check_text(text, line)
        plain = not event.style and event.tag in (None, *(_TAGS - {f"{_TAG}str"}))
        return Written(_meaning(text) if plain else text, line, text)


def _meaning(text: str) -> Scalar:
    """The value of an unquoted word, by the core schema of YAML 1.2."""
    if text in _WORDS or (text.lower() in _WORDS and text in (text.capitalize(), text.upper())):
        return _WORDS[text.lower()]
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _syntax_rule(text: str, line: int, problem: str | None) -> str:
    written = (text.split("\n")[line - 1 : line] or [""])[0]
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return "YAML is indented with spaces, never with tabs"
    return f"this is no YAML: {problem or 'it cannot be read'}"
