"""JSON, read for its values and their lines."""

import json
import math
import re
from typing import NoReturn

from libs.contracts.written import Scalar, Written, found_text
from services.installer.domain.limits import Budget

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_WORDS: dict[str, Scalar] = {"null": None, "true": True, "false": False}


def read_json(text: str, budget: Budget) -> Written:
    """The document. Raises `InvalidManifest` where it is none; lesser faults go to the budget."""
    return _Reader(text, budget).document()


class _Reader:
    def __init__(self, text: str, budget: Budget):
        self._text = text
        self._at = 0
        self._line = 1
        self._budget = budget

    def document(self) -> Written:
        whole = self._value(1)
        if self._peek():
            self._expected("nothing more after the document")
        return whole

    def _value(self, depth: int) -> Written:
        first = self._peek()
        line = self._line
        self._budget.check_depth(depth, line)
        self._budget.spend(line)
        if first == "{":
            return Written(self._mapping(depth), line)
        if first == "[":
            return Written(self._entries(depth), line)
        if first == '"':
            text = self._string()
            return Written(text, line, text)
        return self._word(line)

    def _mapping(self, depth: int) -> dict[str, Written]:
        items: dict[str, Written] = {}
        self._take("{")
        while self._more(items, "}"):
            self._peek()
            line = self._line
            key = self._string()
            self._take(":")
            value = self._value(depth + 1)
            if key in items:
                rule = f"this key stands twice, first on line {items[key].line}; keep one"
                self._budget.note(line, rule, key=found_text(key))
            items[key] = Written(value.value, line, value.text)
        return items

    def _entries(self, depth: int) -> tuple[Written, ...]:
        entries: list[Written] = []
        self._take("[")
        while self._more(entries, "]"):
            entries.append(self._value(depth + 1))
        return tuple(entries)

    def _more(self, so_far: dict[str, Written] | list[Written], end: str) -> bool:
        """Whether another item follows; takes the comma before it, or the end."""
        if self._peek() == end:
            self._at += 1
            return False
        if so_far:
            self._take(",")
        return True

    def _string(self) -> str:
        if self._peek() != '"':
            self._expected("a text in double quotes")
        try:
            value, self._at = _DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            self._budget.stop(error.lineno, f"this is no JSON: {error.msg}")
        text = str(value)
        self._budget.spend(self._line, nodes=0, characters=len(text))
        self._budget.check_text(text, self._line)
        return text

    def _word(self, line: int) -> Written:
        number = _NUMBER.match(self._text, self._at)
        if number is not None:
            self._at = number.end()
            return Written(_number(number), line, number[0])
        for word, value in _WORDS.items():
            if self._text.startswith(word, self._at):
                self._at += len(word)
                return Written(value, line, word)
        self._expected("a value")

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        space = _SPACE.match(self._text, self._at)
        assert space is not None
        self._line += space[0].count("\n")
        self._at = space.end()
        return self._text[self._at : self._at + 1]

    def _take(self, wanted: str) -> None:
        if self._peek() != wanted:
            self._expected(wanted)
        self._at += 1

    def _expected(self, what: str) -> NoReturn:
        rest = self._text[self._at : self._at + 20]
        found = found_text(rest) if rest else "the end of the file"
        self._budget.stop(self._line, f"this is no JSON: expected {what}, found {found}")


def _number(match: re.Match[str]) -> Scalar:
    if match[1] is None and match[2] is None and len(match[0]) <= 19:
        return int(match[0])
    value = float(match[0])
    return value if math.isfinite(value) else match[0]
