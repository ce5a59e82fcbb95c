"""What the rules of the policy are made of: each looks at one place of a configuration and yields what it refuses."""

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, cast

from libs.contracts.written import Place, found_text, key_text

UNKNOWN = "this release does not know it; leave it out"
_SOCKETS = ("docker", "containerd", "podman", "crio", "buildkit")
_SOCKET_RULE = "whoever reaches the engine's socket rules the whole host; leave it out, or run this beside MACHETE"


@dataclass(frozen=True)
class Refusal:
    """`where` as in `services.web.volumes[0]`, `found` safe to show, `rule` why and what would be right."""

    where: str
    found: str
    rule: str

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}; {self.rule}"


@dataclass(frozen=True)
class Judged:
    """What rules have to know of the stack around the place they look at."""

    repository: PurePosixPath
    services: frozenset[str]
    volumes: frozenset[str]


Rule = Callable[[Place, Any, Judged], Iterable[Refusal]]


def refusal(place: Place, found: object, rule: str) -> Refusal:
    return Refusal(key_text(place), found_text(found), rule)


def as_mapping(value: Any) -> Mapping[str, Any] | None:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else None


def as_list(value: Any) -> list[Any] | None:
    return cast(list[Any], value) if isinstance(value, list) else None


def said(value: Any) -> bool:
    """Is anything asked for? Compose writes some keys out with nothing in them."""
    return value not in (None, False, "", "false", [], {})


def anything(_place: Place, _value: Any, _judged: Judged) -> Iterable[Refusal]:
    return ()


def never(rule: str) -> Rule:
    def judge(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
        if said(value):
            yield refusal(place, value, rule)

    return judge


def only(allowed: Collection[str], rule: str) -> Rule:
    def judge(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
        if said(value) and value not in allowed:
            yield refusal(place, value, rule)

    return judge


def matching(pattern: str, rule: str) -> Rule:
    known = re.compile(pattern)

    def judge(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
        if said(value) and not (isinstance(value, str) and known.fullmatch(value)):
            yield refusal(place, value, rule)

    return judge


def at_least(least: int, rule: str) -> Rule:
    def judge(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
        if said(value) and number(value) < least:
            yield refusal(place, value, rule)

    return judge


def shape(keys: Mapping[str, Rule], unknown: str = UNKNOWN) -> Rule:
    """A mapping: each key by its own rule, `x-` keys as they are, and no other."""

    def judge(place: Place, value: Any, judged: Judged) -> Iterator[Refusal]:
        if value is None:
            return
        mapping = as_mapping(value)
        if mapping is None:
            yield refusal(place, value, "this is a mapping of keys")
            return
        for key, item in mapping.items():
            rule = anything if key.startswith("x-") else keys.get(key)
            if rule is None:
                yield refusal((*place, key), item, unknown)
            else:
                yield from rule((*place, key), item, judged)

    return judge


def named(pattern: str, bad_name: str, each: Rule) -> Rule:
    """A mapping whose keys are names that its author chose."""
    known = re.compile(pattern)

    def judge(place: Place, value: Any, judged: Judged) -> Iterator[Refusal]:
        mapping = as_mapping(value)
        if mapping is None:
            yield from never("this is a mapping of names")(place, value, judged)
            return
        for name, item in mapping.items():
            if not known.fullmatch(name):
                yield refusal((*place, name), name, bad_name)
            yield from each((*place, name), item, judged)

    return judge


def each(rule: Rule) -> Rule:
    """A list, or a mapping of free names, whose entries are judged alike."""

    def judge(place: Place, value: Any, judged: Judged) -> Iterator[Refusal]:
        entries = as_list(value)
        mapping = as_mapping(value)
        if entries is None and mapping is None:
            yield from never("this is a list or a mapping")(place, value, judged)
        for step, item in enumerate(entries) if entries is not None else (mapping or {}).items():
            yield from rule((*place, step), item, judged)

    return judge


def every(*rules: Rule) -> Rule:
    def judge(place: Place, value: Any, judged: Judged) -> Iterator[Refusal]:
        for rule in rules:
            yield from rule(place, value, judged)

    return judge


def in_repository(rule: str) -> Rule:
    """An absolute path, as Compose writes them, that lies in the repository."""

    def judge(place: Place, value: Any, judged: Judged) -> Iterator[Refusal]:
        if said(value) and not (isinstance(value, str) and inside(value, judged.repository)):
            yield refusal(place, shown(value, judged.repository), _path_rule(value, rule))

    return judge


def inside(path: str, repository: PurePosixPath) -> bool:
    """Does an absolute path lie in the repository, and say so plainly?

    With `..` it may yet be taken apart otherwise than here. A colon parts source, target and mode in the engine's
    own short form, so that one path may be read there as two.
    """
    pure = PurePosixPath(path)
    return ".." not in pure.parts and ":" not in path and "\0" not in path and pure.is_relative_to(repository)


def shown(path: Any, repository: PurePosixPath) -> Any:
    """As its author wrote it, most likely: Compose made `../x` an absolute path, which is none of theirs."""
    near = (repository, *repository.parents[:3])
    if isinstance(path, str) and any(PurePosixPath(path).is_relative_to(each) for each in near if each.name):
        return posixpath.relpath(path, repository)
    return path


def _path_rule(value: Any, rule: str) -> str:
    text = str(value)
    if text.endswith(".sock") and any(word in text for word in _SOCKETS):
        return _SOCKET_RULE
    return "a colon parts a path in two; rename it to one without" if text.startswith("/") and ":" in text else rule


def number(value: Any) -> float:
    """As Compose writes numbers, some of them as texts; what is none is less than any."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("-inf")
