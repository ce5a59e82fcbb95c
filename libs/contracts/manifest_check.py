"""Checks a manifest that was read: all that is wrong in it at once, each with its line."""

import difflib
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from libs.contracts.manifest import Manifest, Part
from libs.contracts.written import Bad, Fault, InvalidManifest, Place, Plain, Written, found_text, key_text


@dataclass(frozen=True)
class CheckedManifest:
    """A manifest that holds, and what its author should know all the same."""

    manifest: Manifest
    notes: tuple[str, ...] = ()


def check_manifest(document: Written, file: str, *, platform: str) -> CheckedManifest:
    """The manifest in a document, or `InvalidManifest` with all that is wrong in it.

    `file` is its name in messages, `platform` the version of this MACHETE.
    """
    if not isinstance(document.value, Mapping):
        rule = "a manifest is a mapping with keys like name, version and machete"
        raise InvalidManifest([Fault(file, document.line, "", found_text(document.value), rule)])
    plain = _plain(document, ())
    context = {"platform": platform}
    passed_over: list[Fault] = []
    try:
        manifest = Manifest.model_validate(plain, context=context)
    except ValidationError as error:
        details = error.errors(include_url=False)
        faults = [fault for one in details for fault in _faults(one, document, file)]
        if not all(_is_only_shown(one["loc"]) for one in details):
            raise InvalidManifest(faults) from None
        manifest = Manifest.model_validate(_without(plain, {_part_of(one["loc"]) for one in details}), context=context)
        passed_over = [replace(fault, rule=f"{fault.rule}; passed over") for fault in faults]
    gone = tuple(f"{fault.key}{sign}" for fault in passed_over for sign in ".[")
    unknown = [fault for fault in _unknown_keys(document, Manifest, file, ()) if not fault.key.startswith(gone)]
    notes = (*passed_over, *unknown, *_readings(document, file))
    return CheckedManifest(manifest, tuple(str(note) for note in notes))


# What people see of a tool and nothing depends on: a tool whose author wrote it in a way of their own still runs.
_ONLY_SHOWN = frozenset({"version", "description", "author", "license", "repository", "ui"})


def _is_only_shown(place: Place) -> bool:
    return place[0] in _ONLY_SHOWN or place[:2] == ("machete", "category")


def _part_of(place: Place) -> Place:
    """What goes when this is wrong: of a page of the tool all, of others the key itself."""
    return place[:3] if place[:2] == ("ui", "routes") else place[:2] if place[0] in ("ui", "machete") else place[:1]


def _without(node: Plain, places: Set[Place], at: Place = ()) -> Plain:
    if isinstance(node, dict):
        return {key: _without(item, places, (*at, key)) for key, item in node.items() if (*at, key) not in places}
    if isinstance(node, list):
        return [_without(item, places, (*at, index)) for index, item in enumerate(node) if (*at, index) not in places]
    return node


def _readings(document: Written, file: str) -> Iterator[Fault]:
    """Values that have one meaning elsewhere and another here: what they were taken for."""
    place = ("resources", "memory")
    memory = document.at(place)
    if re.search(r"[mgt]b?$", memory.text):
        yield Fault(
            file, memory.line, key_text(place), found_text(memory.text), "read as Docker does, in steps of 1024"
        )


_AS_TYPED = {
    ("name",),
    ("version",),
    ("description",),
    ("machete", "version"),
    ("machete", "environment", "*"),
    ("resources", "memory"),
    ("resources", "cpu"),
}


def _plain(node: Written, place: Place) -> Plain:
    """The bare values. Where a text is wanted, a number keeps its digits: `version: 1.10` is not 1.1."""
    if isinstance(node.value, Mapping):
        items = {key: _plain(child, (*place, key)) for key, child in node.value.items()}
        free = place[:1] == ("config",) or place == ("machete", "environment")
        return {key: item for key, item in items.items() if free or item is not None}
    if isinstance(node.value, tuple):
        return [_plain(child, (*place, index)) for index, child in enumerate(node.value)]
    in_environment = place[:2] == ("machete", "environment") and len(place) == 3
    if (("machete", "environment", "*") if in_environment else place) not in _AS_TYPED:
        return node.value
    if node.value is None:
        return "" if in_environment and not node.text else None
    return node.text


_TYPE_RULES = {
    "tuple_type": "this is a list",
    "list_type": "this is a list",
    "dict_type": "this is a mapping",
    "model_type": "this is a mapping",
    "model_attributes_type": "this is a mapping",
    "string_type": "this is a text",
    "string_pattern_mismatch": "a color is like #ff6b35 or the name of one",
    "missing": "this key is missing",
}


def _faults(error: ErrorDetails, document: Written, file: str) -> Iterator[Fault]:
    place = tuple(error["loc"])
    bad = error.get("ctx", {}).get("error")
    if isinstance(bad, Bad) and bad.others:
        for entry, other in bad.others.items():
            inner = (*place, entry)
            yield Fault(file, document.at(inner).line, key_text(inner), other.found, other.rule)
        return
    rule = bad.rule if isinstance(bad, Bad) else _TYPE_RULES.get(error["type"], error["msg"])
    found = None if error["type"] == "missing" else found_text(error["input"])
    if isinstance(bad, Bad) and bad.found is not None:
        found = bad.found
    yield Fault(file, document.at(place).line, key_text(place), found, rule)


def _unknown_keys(node: Written, model: type[BaseModel], file: str, place: Place) -> Iterator[Fault]:
    for key, child in node.children():
        field = model.model_fields.get(str(key))
        if field is None:
            if not str(key).startswith("x-"):
                near = difflib.get_close_matches(str(key), model.model_fields, n=1)
                meant = f"; did you mean {near[0]}?" if near else ""
                rule = f"no key that MACHETE knows, passed over{meant}"
                yield Fault(file, child.line, key_text((*place, key)), None, rule)
            continue
        inner = _part_in(field.annotation)
        if inner is None:
            continue
        nodes = [child] if isinstance(child.value, Mapping) else [item for _, item in child.children()]
        for index, item in enumerate(nodes):
            deeper = (*place, key) if item is child else (*place, key, index)
            yield from _unknown_keys(item, inner, file, deeper)


def _part_in(annotation: object) -> type[Part] | None:
    """The kind of mapping that a field holds, alone or as a list of them."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Part):
            return kind
    return None
