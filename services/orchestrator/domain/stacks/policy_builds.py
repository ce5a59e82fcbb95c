"""What the build of a service's image may ask for."""

import posixpath
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from libs.contracts.problems import Failure
from libs.contracts.written import Place
from services.orchestrator.domain import frontends
from services.orchestrator.domain.stacks.policy_rules import (
    Judged,
    Refusal,
    Rule,
    anything,
    as_list,
    as_mapping,
    each,
    in_repository,
    inside,
    matching,
    never,
    only,
    refusal,
    said,
    shape,
)

_DOCKERFILE = "the Dockerfile has to lie in the repository; write its path from the context, like docker/Dockerfile"
_CONTEXT = in_repository(
    "the context has to be a folder of the repository; nothing else is read, write a path like ./app"
)
_MORE_CONTEXTS = ("docker-image://", "service:", "target:")
_CACHE = r"[^=]+|type=(inline|registry)(,(ref|mode)=[^,=\"]+)*"


def _more_context(place: Place, value: Any, judged: Judged) -> Iterator[Refusal]:
    if not str(value).startswith(_MORE_CONTEXTS):
        yield from _CONTEXT(place, value, judged)


def _dockerfile(place: Place, value: Any, judged: Judged) -> Iterator[Refusal]:
    """Its path goes out from the context, which is judged itself, and may lead up from there."""
    build = as_mapping(value) or {}
    file, context = build.get("dockerfile"), str(build.get("context") or "")
    if not said(file) or not inside(context, judged.repository):
        return
    path = posixpath.normpath(PurePosixPath(context, str(file)))
    if "\0" in path or not PurePosixPath(path).is_relative_to(judged.repository):
        yield refusal((*place, "dockerfile"), file, _DOCKERFILE)


def _arguments(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
    """One of them chooses by whom the Dockerfile is read."""
    mapping, entries = as_mapping(value), as_list(value)
    pairs = [str(entry).partition("=")[::2] for entry in entries or ()] if mapping is None else list(mapping.items())
    for name, chosen in pairs:
        if name == frontends.ARGUMENT and said(chosen) and not frontends.is_own(str(chosen)):
            yield refusal((*place, name), chosen, frontends.ADVICE)


def _inline(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
    try:
        frontends.check_frontend(str(value or "").encode("utf-8", "replace"), "it")
    except Failure:
        yield refusal(place, value, frontends.ADVICE)


_KEYS = shape(
    {
        # What the build is told, and what it is called; its tags and caches give way to the platform's own.
        **dict.fromkeys(("labels", "tags", "target", "no_cache", "pull", "platforms"), anything),
        **dict.fromkeys(("shm_size", "ulimits", "extra_hosts", "provenance", "sbom"), anything),
        "args": _arguments,
        "context": _CONTEXT,
        "dockerfile": anything,  # judged together with the context
        "dockerfile_inline": _inline,
        "additional_contexts": each(_more_context),
        "cache_from": each(
            matching(_CACHE, "a cache is an image, and no folder of the host; name one, or leave it out")
        ),
        "cache_to": each(matching(_CACHE, "a cache is an image, and no folder of the host; name one, or leave it out")),
        "entitlements": each(never("a build has no rights on the host; leave them out")),
        "isolation": only(("default",), "how builds are isolated is the host's; leave it out"),
        "network": only(("default", "none"), "a build has a network of its own; leave it out, or write none"),
        "privileged": never("a privileged build rules the whole host; leave it out"),
        "secrets": each(shape(dict.fromkeys(("source", "target", "uid", "gid", "mode"), anything))),
        "ssh": each(never("keys of the host are given to no build; use a secret of the stack")),
    }
)


def _build(place: Place, value: Any, judged: Judged) -> Iterator[Refusal]:
    yield from _KEYS(place, value, judged)
    yield from _dockerfile(place, value, judged)


BUILD: Rule = _build
