"""Images of programs that tools and the platform stand on, made from packages where no registry answers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deploy.setup.docker_images import RECIPE_LABEL, has, id_of, is_used, label_of, recipe_of
from deploy.setup.shell import ask, run, say

DEPLOY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Part:
    """`argument`: the build argument or variable with which `local` is chosen instead of `public`.

    `folder`: what it is made from, below deploy/.
    """

    argument: str
    public: str
    local: str
    folder: str


POSTGRES = Part("POSTGRES_IMAGE", "postgres:17-alpine", "machete-postgres:bookworm", "postgres")
REDIS = Part("REDIS_IMAGE", "redis:7-alpine", "machete-redis:bookworm", "redis")
NATS = Part("NATS_IMAGE", "nats:2.15-alpine", "machete-nats:bookworm", "nats")
CADDY = Part("CADDY_IMAGE", "caddy:2.11-alpine", "machete-caddy:bookworm", "caddy")
FOR_TOOLS = (POSTGRES, REDIS)
FOR_PLATFORM = (NATS, POSTGRES, CADDY)
ALL = (*FOR_TOOLS, NATS, CADDY)


def chosen(parts: Iterable[Part]) -> dict[str, str]:
    """The local images that stand in for public ones on this machine, by their arguments."""
    return {part.argument: part.local for part in parts if is_used(part.local, instead_of=part.public)}


def ensure(base: str, shell: str) -> None:
    """Make what is missing, or was made from other files or on other bases: one with Python, one with a shell."""
    for part in ALL:
        recipe = recipe_of(*_inputs(DEPLOY / part.folder), label_of(base), label_of(shell))
        if has(part.local, recipe):
            say(f"images: {part.local} is there")
            continue
        say(f"images: making {part.local} from packages (some seconds)")
        _build(part, recipe, {"BASE_IMAGE": base, "SHELL_IMAGE": shell})


def _inputs(folder: Path) -> list[str]:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [f"{file.name} {file.stat().st_mode & 0o111:o}\n{file.read_text()}" for file in files]


def _build(part: Part, recipe: str, bases: dict[str, str]) -> None:
    options = ["--label", f"{RECIPE_LABEL}={recipe}", "--tag", part.local]
    options += [word for name, image in bases.items() for word in ("--build-arg", f"{name}={image}")]
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    former = id_of(part.local)
    run(["docker", "build", "--quiet", *options, DEPLOY / part.folder], environment=environment, timeout=600)
    if former and former != id_of(part.local):
        # Refused while a container or another image still stands on it: then it stays, unnamed.
        ask(["docker", "image", "rm", former])
