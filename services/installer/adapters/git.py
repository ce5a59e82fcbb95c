"""Fetches tools with the real Git, as a child process under a watchdog, into a repository that is thrown away."""

import asyncio
import errno
import os
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from libs.contracts.source import GitUrl, Refused, check_git_url, check_ref, check_subdir
from libs.contracts.written import InvalidManifest
from libs.runtime.cancellation import abandon
from libs.runtime.masking import inert, masked
from libs.runtime.version import VERSION
from libs.runtime.work_folders import sweep, work_folder
from services.installer.adapters.git_access import Access, Credentials
from services.installer.adapters.git_tree import Limits, Reader, disk_full, load, opened, too_large
from services.installer.domain import git_call, git_says
from services.installer.domain.failures import FetchFailed
from services.installer.domain.resolve import resolve
from services.installer.ports import Checkout, Child, Children, Log, always

Result = TypeVar("Result")

_PREFIX = "fetch-"
LAST_LINES = 20
SIGNALLED = 128
LONGEST_LINE = 500
LONGEST_READ = 4096
MOST_REFS = 5000
WATCH_EVERY = 0.25
PROGRESS_EVERY = 0.5


@dataclass(frozen=True)
class GitOptions:
    """`timeout` in seconds for all of a fetch, `limit` in bytes for what it brings and for what that unpacks to."""

    protocols: Collection[str] = ("https", "ssh")
    timeout: float = 600.0
    limit: int = 1024**3
    platform: str = VERSION
    credentials: Credentials = field(default_factory=Credentials)


class GitSources:
    """The port `Sources`, over Git. `folder` is where fetches lie while they last."""

    def __init__(self, children: Children, folder: Path, options: GitOptions):
        self._children = children
        self._folder = folder
        self._options = options

    def sweep(self) -> int:
        """Removes what a killed platform left of its fetches; what is being worked on stays."""
        return sweep(self._folder, _PREFIX)

    def fetch(
        self,
        url: str,
        ref: str | None = None,
        subdir: str | None = None,
        *,
        log: Log,
        alive: Callable[[], bool] = always,
    ) -> AbstractAsyncContextManager[Checkout]:
        return self._fetch(url, ref, subdir, log, alive)

    @asynccontextmanager
    async def _fetch(
        self, url: str, ref: str | None, subdir: str | None, log: Log, alive: Callable[[], bool]
    ) -> AsyncGenerator[Checkout]:
        try:
            checked = check_git_url(url, self._options.protocols)
            name = checked.default_name
            ref = None if ref is None else check_ref(ref)
            subdir = None if subdir is None else check_subdir(subdir)
        except Refused as refused:
            raise FetchFailed.because(refused) from None
        with work_folder(self._folder, _PREFIX) as folder:
            call = _Fetch(self._children, folder, self._options, checked, log, alive)
            yield await _told(call.checkout(name, ref, subdir))


async def _told(work: Awaitable[Checkout]) -> Checkout:
    """A full disk is something that a user can do something about, so it is told like the rest."""
    try:
        return await work
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full() from error
        raise


class _Fetch:
    """One fetch, in a folder of its own."""

    def __init__(
        self,
        children: Children,
        folder: Path,
        options: GitOptions,
        url: GitUrl,
        log: Log,
        alive: Callable[[], bool],
    ):
        self._children = children
        self._options = options
        self._url = url
        self._log = log
        self._alive = alive
        self._repository = folder / "repository"
        self._bundle = folder / "bundle.tar.gz"
        self._home = folder / "home"
        self._environment = git_call.environment(os.environ, self._home, options.protocols)
        self._access = Access(options.credentials, url, folder, self._environment)
        self._said: deque[str] = deque(maxlen=LAST_LINES)

    async def checkout(self, name: str, ref: str | None, subdir: str | None) -> Checkout:
        try:
            async with asyncio.timeout(self._options.timeout):
                found = await self._bring(ref)
                checked = await self._in_thread(lambda reader: self._check(reader, found, name, subdir))
                if checked is None:
                    raise await self._unknown(ref) if found == ref else git_says.not_a_commit(ref)
        except TimeoutError:
            limit = f"{self._options.timeout:g} seconds"
            raise FetchFailed(
                "fetch_too_slow",
                f"The fetch took longer than {limit} and was ended: try again, or give it more time with "
                "MACHETE_FETCH_TIMEOUT.",
                {"log": list(self._said)},
            ) from None
        for line in checked.notes:
            await self._log(shown_line(line))
        return checked.checkout

    async def _bring(self, ref: str | None) -> str:
        """Fetches what `ref` may mean, as little as the server can give; returns what to look up in it."""
        self._lay_out()
        # Git takes longer than this import, so nobody waits for it.
        loading = asyncio.create_task(asyncio.to_thread(load))
        try:
            return await self._search(ref)
        finally:
            loading.cancel()

    async def _search(self, ref: str | None) -> str:
        wanted = ref or "HEAD"
        code = await self._git(git_call.fetch(self._repository, self._url, wanted, depth=1))
        if code and git_says.is_dumb(self._said):
            await self._log("This server has files only: fetching the whole history.")
            code = await self._git(git_call.fetch(self._repository, self._url, wanted, depth=None))
        if code == 0:
            return (self._repository / "FETCH_HEAD").read_text().split()[0]
        if not git_says.is_unknown_ref(self._said):
            raise await self._access.failure(self._said, self._children)
        if ref is None or not git_says.may_be_commit(ref):
            raise await self._unknown(ref)
        await self._log(f"There is no branch or tag {ref}: looking for a commit in the whole history.")
        everything = git_call.fetch(self._repository, self._url, *git_call.BRANCHES_AND_TAGS, depth=None)
        if await self._git(everything):
            raise await self._access.failure(self._said, self._children)
        return ref

    def _lay_out(self) -> None:
        """An empty bare repository, as `git init` makes it, without starting a process for it."""
        self._home.mkdir()
        self._access.lay_out()
        (self._repository / "objects").mkdir(parents=True)
        (self._repository / "refs").mkdir()
        (self._repository / "HEAD").write_text("ref: refs/heads/none\n")
        (self._repository / "config").write_text(git_call.configuration(self._options.protocols))

    def _check(self, reader: Reader, found: str, name: str, subdir: str | None) -> "_Checked | None":
        """Judges the commit and packs it; None if there is none."""
        commit = reader.commit(found)
        if commit is None:
            return None
        snapshot = reader.snapshot(commit, subdir, Limits(self._options.limit))
        try:
            version = commit.hexsha[:12]
            resolution = resolve(snapshot, name=name, version=version, platform=self._options.platform)
        except (Refused, InvalidManifest) as problem:
            raise FetchFailed.because(problem) from None
        digest, size = snapshot.write_bundle(self._bundle)
        left_out = tuple(f"The submodule {path} is left out." for path in snapshot.left_out[:LAST_LINES])
        fetched = f"Fetched commit {commit.hexsha}: {len(snapshot.entries)} files, {size / 1024:.0f} KiB packed."
        checkout = Checkout(commit.hexsha, resolution.manifest, self._bundle, digest, size)
        return _Checked(checkout, (fetched, *left_out, *resolution.notes))

    async def _unknown(self, ref: str | None) -> FetchFailed:
        """What to say of a ref that is not there; asks the server what is."""
        names: list[str] = []
        argv = git_call.list_refs(self._repository, self._url)
        async with self._run(argv) as child:
            async for line in child.lines():
                name = git_says.ref_name(line)
                if name is None:
                    self._said.append(self._shown(line))
                elif len(names) < MOST_REFS:
                    names.append(self._shown(name))
            if await child.wait():
                return await self._access.failure(self._said, self._children)
        return git_says.unknown_ref(ref, names)

    async def _git(self, argv: list[str]) -> int:
        """Runs Git, tells what it says and watches how much it brings; returns its exit code."""
        self._said.clear()
        async with self._run(argv) as child:
            listening = asyncio.create_task(self._listen(child))
            watching = asyncio.create_task(self._watch_size())
            try:
                await asyncio.wait({listening, watching}, return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    watching.result()
                await listening
                code = await child.wait()
            finally:
                await abandon(listening, watching)
        await self._check_size()
        if code > SIGNALLED:
            raise git_says.killed(code - SIGNALLED)
        return code

    def _run(self, argv: list[str]) -> AbstractAsyncContextManager[Child]:
        return self._children.run(argv, env=self._access.environment, cwd=self._repository, alive=self._alive)

    async def _listen(self, child: Child) -> None:
        next_progress = time.monotonic() + PROGRESS_EVERY  # what is done by then need not be said bit by bit
        async for line in child.lines():
            text = self._shown(line)
            if git_says.percentage(text) is None:
                self._said.append(text)
            elif (now := time.monotonic()) < next_progress:
                continue
            else:
                next_progress = now + PROGRESS_EVERY
            if text:
                await self._log(text)

    def _shown(self, line: str) -> str:
        return shown_line(self._access.masked(line))

    async def _watch_size(self) -> None:
        while True:
            await asyncio.sleep(WATCH_EVERY)
            await self._check_size()

    async def _check_size(self) -> None:
        if await asyncio.to_thread(folder_size, self._repository) > self._options.limit:
            raise FetchFailed("repository_too_large", too_large(self._options.limit, "is"))

    async def _in_thread(self, work: Callable[[Reader], Result]) -> Result:
        """Blocking work on what was fetched. Cancelled, it has ended when this returns: nobody uses the folder then."""
        stop = threading.Event()

        def run() -> Result:
            with opened(self._repository, self._environment, stop.is_set) as reader:
                return work(reader)

        task = asyncio.create_task(asyncio.to_thread(run))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            stop.set()
            while not task.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({task})
            if not task.cancelled():
                task.exception()
            raise


@dataclass(frozen=True)
class _Checked:
    """A checkout, and lines for whoever reads the log."""

    checkout: Checkout
    notes: tuple[str, ...]


def shown_line(line: str) -> str:
    """A line that a stranger's server or repository wrote, fit for a log: no credential, no control character.

    Of a long line the beginning counts, up to its last whole word: half a credential would not be known as one.
    """
    text = line.rstrip()
    if len(text) > LONGEST_READ:
        whole, *cut = text[:LONGEST_READ].rsplit(None, 1)
        text = f"{whole} …" if cut else "…"
    return inert(masked(text))[:LONGEST_LINE]


def folder_size(folder: Path) -> int:
    """Bytes of all files below; what vanishes while it is counted counts for nothing."""
    total = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, file)).st_size
    return total
