"""Looking at the engine's images: is one here, by which recipe was it made, could the public one be had?"""

from __future__ import annotations

import hashlib
from functools import cache

from deploy.setup.shell import ask

PUBLIC_BASE = "python:3.12-slim"  # what Dockerfiles stand on unless told otherwise
RECIPE_LABEL = "io.machete.setup.recipe"
PROBE_SECONDS = 10.0


def has(image: str, recipe: str | None = None) -> bool:
    """Is the image here, and made by this recipe (any, if None)?"""
    if recipe is not None:
        return label_of(image) == recipe
    return bool(id_of(image))


def id_of(image: str) -> str:
    """Empty where it is not here."""
    code, answer = ask(["docker", "image", "inspect", "--format", "{{.Id}}", image])
    return answer if code == 0 else ""


def label_of(image: str) -> str:
    """The recipe it was made by; empty where it is not here, or not of our making."""
    template = f'{{{{index .Config.Labels "{RECIPE_LABEL}"}}}}'
    code, answer = ask(["docker", "image", "inspect", "--format", template, image])
    return answer if code == 0 else ""


def recipe_of(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def is_used(local: str, *, instead_of: str) -> bool:
    """Does the local image stand in for the public one on this machine?"""
    return not has(instead_of) and has(local)


@cache
def registry_answers() -> bool:
    """A quick question for one small document; no image is fetched."""
    return ask(["docker", "manifest", "inspect", PUBLIC_BASE], timeout=PROBE_SECONDS)[0] == 0
