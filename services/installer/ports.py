"""What the installer's handlers need from the outside, in their own terms."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from libs.contracts.manifest import ResolvedManifest

Log = Callable[[str], Awaitable[None]]


def always() -> bool:
    return True


@dataclass(frozen=True)
class Checkout:
    """A commit that was fetched and checked, with the bundle that holds its whole tree.

    `bundle` is a deterministic tar.gz: the same commit gives the same bytes on the same machine. It exists as
    long as the fetch's context is open; `digest` is its sha256, `size` its length in bytes.
    """

    commit: str
    manifest: ResolvedManifest
    bundle: Path
    digest: str
    size: int


class Sources(Protocol):
    """Where tools come from."""

    def fetch(
        self,
        url: str,
        ref: str | None = None,
        subdir: str | None = None,
        *,
        log: Log,
        alive: Callable[[], bool] = always,
    ) -> AbstractAsyncContextManager[Checkout]:
        """Fetches one commit: `ref` is a branch, a tag, a commit or the beginning of one; None the default branch.

        `log` gets Git's progress and what there is to say about the manifest, one line at a time. Leaving the
        context, however that happens, removes all that was fetched. Raises `FetchFailed`.
        """
        ...


class Bundles(Protocol):
    """Where bundles are handed over to the other services."""

    async def put(self, path: Path, digest: str, fence: int) -> str:
        """Stores the file and returns the name it is found under; safe to repeat."""
        ...


class Child(Protocol):
    def lines(self) -> AsyncIterator[str]:
        """Standard output and error as one, line by line; a carriage return ends a line too."""
        ...

    async def wait(self) -> int:
        """The exit code."""
        ...


class Children(Protocol):
    def run(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, alive: Callable[[], bool]
    ) -> AbstractAsyncContextManager[Child]:
        """Runs a child; leaving the context, or `alive()` being false, ends it and all its descendants."""
        ...
