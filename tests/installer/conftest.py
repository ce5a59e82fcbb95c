"""Real Git over HTTP for every test here."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from libs.runtime.children import Children
from services.installer.adapters.git import GitOptions, GitSources
from services.installer.ports import Checkout
from tests.support.git_repos import TOOL, Odd, commit_files
from tests.support.git_server import GitServer

Publish = Callable[..., str]
Fetch = Callable[..., Awaitable[Checkout]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "served") as running:
        yield running


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def sources(work: Path) -> GitSources:
    return make_sources(work)


def make_sources(work: Path, **options: object) -> GitSources:
    children = Children(bound=2.0, heartbeat=0.4)
    return GitSources(children, work, GitOptions(**{"protocols": ("http", "https"), **options}))  # pyright: ignore[reportArgumentType]


@pytest.fixture
def publish(server: GitServer) -> Publish:
    """Commits files to a repository and returns its address; a tool's own files unless told others."""

    def publish(name: str = "tool", files: "dict[str, bytes | Odd] | None" = None, **more: "bytes | Odd") -> str:
        commit_files(server.repository(name), {**(TOOL if files is None else files), **more})
        server.published.add(name)
        return server.url(name)

    return publish


class Lines:
    """A log that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def __call__(self, line: str) -> None:
        self.lines.append(line)

    def __str__(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture
def log() -> Lines:
    return Lines()


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
