"""The images that MACHETE builds for a tool are that tool's alone: no other one is made of them, or runs them.

They hold the tool's source, and whatever its build was given. Names say whose they are; BuildKit itself holds a build
to that (`source_policy`), since only BuildKit knows in the end which images a Dockerfile means.
"""

import re
from collections.abc import Mapping
from typing import Any

from services.orchestrator.domain import names

# As BuildKit and the engine write a name out in full; nothing in it could be read as another name yet.
_DOMAIN = r"([a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+(:[0-9]+)?|[a-zA-Z0-9-]+:[0-9]+|localhost|\[[0-9a-fA-F:]+\](:[0-9]+)?)"
_PATH = r"(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)+"
_VERSION = (
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[A-Za-z][A-Za-z0-9]*([+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)
_USUAL_HOST = "docker.io"  # what the engine puts in front of a name without a host
_OF_TOOLS = rf"(index\.)?{re.escape(_USUAL_HOST)}/machete/"

_DENIED = re.compile(r'source "docker-image://(?P<image>[^"]{1,300})" denied by policy')
_LIKE_AN_ID = re.compile(rf"((index\.)?{re.escape(_USUAL_HOST)}/)?(library/)?[0-9a-f]{{1,64}}")
_ID = re.compile(r"[0-9a-f]{12,64}|sha[0-9]+:.*", re.DOTALL)


def is_of_a_tool(image: str) -> bool:
    """Also by the long form of its name, or by its id, which could be any image's."""
    return re.match(f"({_OF_TOOLS}|machete/)", image) is not None or _ID.fullmatch(image) is not None


def never_an_id(image: str) -> str:
    """The engine takes the first letters of any image's id for a name; no id has a version."""
    return f"{image}:latest" if _LIKE_AN_ID.fullmatch(image) else image


def is_of_another_tool(labels: Mapping[str, str], instance: str, tool: str) -> bool:
    """Whatever name led to it."""
    return labels.get(names.LABEL_INSTANCE) == instance and labels.get(names.LABEL_TOOL) != tool


def source_policy(repository: str) -> dict[str, Any]:
    """What BuildKit may read images from, as its source policy (JSON); the last rule that matches counts.

    `repository` is where the tool's own images are, which its other builds may be made of. A name has to be written out
    in full: any program may read a Dockerfile, and what it asks BuildKit for is cleaned up only after it was judged.
    """
    return {
        "version": 1,
        "rules": [
            _rule("DENY", "^docker-image:"),
            _rule("ALLOW", f"^docker-image://{_DOMAIN}{_PATH}{_VERSION}$"),
            _rule("DENY", f"^docker-image://{_OF_TOOLS}"),
            _rule("ALLOW", f"^docker-image://{re.escape(_USUAL_HOST)}/{re.escape(repository)}{_VERSION}$"),
        ],
    }


def denied_image(error: str) -> str | None:
    """The image that BuildKit refused by that policy, if that is what it says."""
    found = _DENIED.search(error)
    return found["image"].removeprefix(f"{_USUAL_HOST}/") if found else None


def _rule(action: str, pattern: str) -> dict[str, Any]:
    return {"action": action, "selector": {"identifier": pattern, "match_type": "REGEX"}}
