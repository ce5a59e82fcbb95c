"""What a log is made of: lines that differ only in their numbers, names and times are one pattern."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

MOST_CHARACTERS = 300

# What varies, the most telling first: a time has numbers in it, and an address too. A group that matched is kept.
_TIME = r"\d\d:\d\d:\d\d(?:[.,]\d+)?"
_VARIABLES = (
    ("<time>", re.compile(rf"\d{{4}}-\d\d-\d\d[T ]{_TIME}(?:Z|[+-]\d\d:?\d\d)?|\b{_TIME}")),
    ("<id>", re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)),
    ("<id>", re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{7,64}\b", re.IGNORECASE)),
    ("<address>", re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b")),
    ("<path>", re.compile(r"(?<![\w/])/[\w.+@-]+(?:/[\w.+@-]+)+")),
    ("<text>", re.compile(r'("[^"]*"\s*:)|"[^"]*"|\'[^\']*\'')),
    ("<n>", re.compile(r"(?<![\w<])[-+]?\d+(?:\.\d+)?")),
)


@dataclass(frozen=True)
class Pattern:
    """`example` is the first line of the pattern."""

    text: str
    example: str
    lines: int


def pattern_of(line: str) -> str:
    for name, variable in _VARIABLES:
        line = variable.sub(lambda found, name=name: found[1] if found.lastindex else name, line)
    return " ".join(line.split())[:MOST_CHARACTERS]


def digest(lines: Iterable[str]) -> list[Pattern]:
    """The patterns of a log, the most frequent first; lines without anything on them do not count."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for line in lines:
        if line.strip():
            pattern = pattern_of(line)
            counts[pattern] += 1
            examples.setdefault(pattern, line.strip()[:MOST_CHARACTERS])
    return [Pattern(text, examples[text], count) for text, count in counts.most_common()]
