"""Small stacks as files in memory and on disk, beside files that no stack may have opened."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest

from libs.contracts.problems import Failure
from services.orchestrator.domain.stacks.reading import check_files
from tests.support.compose import ComposeRefused, compose_config, write_files

Files = Mapping[str, str | bytes]

CANARY = "CANARY=flown"


def check(files: Files, compose: str = "compose.yaml", project: str | None = None) -> None:
    contents = {PurePosixPath(name): text.encode() if isinstance(text, str) else text for name, text in files.items()}
    check_files(contents.get, PurePosixPath(compose), None if project is None else PurePosixPath(project))


def failure_of(files: Files, compose: str = "compose.yaml", project: str | None = None) -> Failure:
    with pytest.raises(Failure) as raised:
        check(files, compose, project)
    return raised.value


def repository_beside_canaries(within: Path) -> Path:
    """A repository three folders deep, with a file of variables outside of it that no tool may read."""
    root = within / "a" / "b" / "repository"
    write_files(within, {"canary.env": CANARY, "canary.yml": "services: {s: {image: x, environment: {CANARY: 1}}}"})
    write_files(root, {f"{folder}e.env": f"FOUND={folder or 'root'}" for folder in ("", "p/", "p/q/", "p/q/r/", "s/")})
    return root


def outside(world: Path, name: str = "canary.env") -> str:
    return str(world.parents[2] / name)


def opens(world: Path, files: Files) -> bool:
    """Does what lies outside reach the configuration?"""
    write_files(world, files)
    try:
        return "CANARY" in str(compose_config(world))
    except ComposeRefused:
        return False
