"""Whether a version of MACHETE is one that a tool asks for."""

import re

_PART = re.compile(r"(>=|<=|==|!=|>|<|=|)\s*v?(\d{1,9}(?:\.\d{1,9}){0,2})")
RULE = "a version of MACHETE is asked for like >=1.0.0 (also ==, !=, >, <=, <; several are joined by commas)"

Requirement = tuple[tuple[str, tuple[int, int, int]], ...]


def parse_requirement(text: str) -> Requirement | None:
    """The comparisons of `>=1.0.0, <2`, a bare version being the least one; None if it is no requirement."""
    comparisons: list[tuple[str, tuple[int, int, int]]] = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            return None
        comparisons.append((match[1] or ">=", _numbers(match[2])))
    return tuple(comparisons)


def satisfies(version: str, requirement: Requirement) -> bool:
    """`version` is X.Y.Z."""
    have = _numbers(version)
    checks = {
        ">=": have.__ge__,
        "<=": have.__le__,
        ">": have.__gt__,
        "<": have.__lt__,
        "==": have.__eq__,
        "=": have.__eq__,
        "!=": have.__ne__,
    }
    return all(checks[sign](wanted) for sign, wanted in requirement)


def _numbers(version: str) -> tuple[int, int, int]:
    parts = [int(part) for part in version.split(".")]
    major, minor, patch = [*parts, 0, 0][:3]
    return major, minor, patch
