"""What a service may mount: volumes of the stack, memory, and folders and files of the repository."""

from collections.abc import Iterator
from typing import Any

from libs.contracts.written import Place
from services.orchestrator.domain.stacks.policy_rules import (
    Judged,
    Refusal,
    Rule,
    anything,
    as_mapping,
    each,
    in_repository,
    only,
    refusal,
    said,
    shape,
)

_KINDS = "mounts are of the type bind, volume or tmpfs; use one of them"
_BOUND = in_repository(
    "what is bound has to lie in the repository; write a path like ./data, which becomes a folder of the tool's own"
)
_PROPAGATION = only(("private", "rprivate"), "mounts are not passed on to the host; leave the propagation out")
_TARGET = "a target is an absolute path in the container, without a colon; a volume's name has two letters or more"


def _source(place: Place, value: Any, judged: Judged) -> Iterator[Refusal]:
    source, kind = value.get("source"), value.get("type")
    if kind not in ("bind", "volume", "tmpfs"):
        yield refusal((*place, "type"), kind, _KINDS)
    if kind == "bind":
        yield from _BOUND(place, source or "/", judged)
    if kind == "volume" and said(source) and source not in judged.volumes:
        yield refusal(place, source, "a volume is one that the stack declares under volumes")


def _target(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
    if not (isinstance(value, str) and value.startswith("/") and ":" not in value):
        yield refusal(place, value, _TARGET)


_KEYS: Rule = shape(
    {
        "type": anything,  # judged together with the source
        "source": anything,
        "target": _target,
        "read_only": anything,
        "consistency": anything,
        "bind": shape(
            {
                "propagation": _PROPAGATION,
                # What is bound is a copy of the tool's own, so these change nothing of the host.
                "create_host_path": anything,
                "recursive": anything,
                "selinux": anything,
            }
        ),
        "volume": shape({"nocopy": anything, "subpath": anything, "labels": anything}),
        "tmpfs": shape({"size": anything, "mode": anything}),
    }
)


def _mount(place: Place, value: Any, judged: Judged) -> Iterator[Refusal]:
    yield from _KEYS(place, value, judged)
    mount = as_mapping(value)
    if mount is not None:
        yield from _source(place, mount, judged)


MOUNTS: Rule = each(_mount)
