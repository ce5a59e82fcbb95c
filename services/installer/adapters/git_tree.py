"""Reads a commit out of a bare repository: no work tree, no filter, no hook.

Blocking: called in a thread. `stop` is looked at between one object and the next.
"""

import gzip
import hashlib
import importlib
import tarfile
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from services.installer.domain.failures import FetchFailed
from services.installer.domain.tree import MAX_PATH, Entry, LeadsOut, check_folder, check_links, follow

if TYPE_CHECKING:
    from git import Commit, Repo

FULL_NAME = 40
MAX_LINK = 4096
MAX_READ = 1024 * 1024
MAX_TIME = 2**33 - 1  # what a tar header holds
SUBMODULE = 0o160000


class Stopped(Exception):
    """Somebody no longer wants the result."""


@dataclass(frozen=True)
class Limits:
    """What a repository may unpack to: bytes of all files together, and their number."""

    bytes: int
    entries: int = 200_000


def load() -> None:
    """Imports GitPython. Late, because 14 MB and 150 ms are a price that a platform at rest need not pay."""
    importlib.import_module("git")


@contextmanager
def opened(repository: Path, environment: dict[str, str], stop: Callable[[], bool]) -> Generator["Reader"]:
    """The reader of a bare repository; its Git processes end with the context, or with this process."""
    from git import Repo

    repo = Repo(repository)
    repo.git.update_environment(**environment, GIT_DIR=str(repository))
    try:
        yield Reader(repo, stop)
    finally:
        repo.close()


class Reader:
    def __init__(self, repo: "Repo", stop: Callable[[], bool]):
        self._repo = repo
        self._stop = stop

    def commit(self, name: str) -> "Commit | None":
        """The commit that a full object name or the beginning of a commit's stands for, through tag objects."""
        from git import Commit, TagObject

        key = bytes.fromhex(name) if len(name) == FULL_NAME else self._complete(name)
        try:
            while key is not None and self._repo.odb.stream(key).type == b"tag":
                key = TagObject(self._repo, key).object.binsha
            is_commit = key is not None and self._repo.odb.stream(key).type == b"commit"
        except ValueError:  # what the name stands for is not here
            return None
        return Commit(self._repo, key) if key is not None and is_commit else None

    def _complete(self, beginning: str) -> bytes | None:
        from git.exc import GitCommandError

        try:
            options = ("--verify", "--quiet", "--end-of-options")
            return bytes.fromhex(str(self._repo.git.rev_parse(*options, f"{beginning}^{{commit}}")))
        except GitCommandError:
            return None

    def snapshot(self, commit: "Commit", subdir: str | None, limits: Limits) -> "Snapshot":
        """The tree of a commit, judged: raises `FetchFailed` for one that cannot be let in."""
        entries, left_out = self._walk(commit, limits)
        links = {entry.path: self._target(entry) for entry in entries.values() if entry.is_link}
        check_links(links)
        if subdir is not None:
            check_folder(subdir, entries.keys())
        moment = min(max(commit.committed_date, 0), MAX_TIME)
        return Snapshot(self, entries, links, left_out, subdir, moment, limits)

    def content(self, entry: Entry) -> "Content":
        return Content(self._repo.odb.stream(entry.key), self._stop)

    def _walk(self, commit: "Commit", limits: Limits) -> tuple[dict[str, Entry], list[str]]:
        entries: dict[str, Entry] = {}
        left_out: list[str] = []
        try:
            # Counted before kept: a few kilobytes can stand for a tree of a billion files.
            items = cast("Iterable[Any]", commit.tree.traverse())
            for count, item in enumerate(items):
                if self._stop():
                    raise Stopped
                self._check(item.path, count, limits, seen=item.path in entries)
                if item.mode == SUBMODULE:
                    left_out.append(item.path)
                elif item.type == "blob":
                    entries[item.path] = Entry(item.path, item.mode, item.binsha)
        except (ValueError, TypeError, UnicodeError) as error:
            raise FetchFailed(
                "repository_unsafe", f"The repository has an entry that no file can be made of: {error!s:.200}"
            ) from error
        return entries, left_out

    def _check(self, path: str, count: int, limits: Limits, *, seen: bool) -> None:
        if count >= limits.entries:
            raise FetchFailed(
                "repository_too_large", f"The repository has more than {limits.entries} files and folders."
            )
        if len(path.encode(errors="surrogateescape")) > MAX_PATH:
            raise FetchFailed("repository_unsafe", f"A path in the repository is too long: {path:.80}…")
        if seen:
            raise FetchFailed("repository_unsafe", f"The repository has {path:.200} twice.")

    def _target(self, link: Entry) -> str:
        content = self.content(link)
        if content.size > MAX_LINK:
            raise FetchFailed("repository_unsafe", f"The link {link.path} in the repository has too long a target.")
        return content.read(MAX_LINK).decode(errors="surrogateescape")


class Content:
    """The bytes of a file or link, to be read to their end before the next one's are asked for."""

    def __init__(self, stream: Any, stop: Callable[[], bool]):
        self.size: int = stream.size
        self._stream = stream
        self._stop = stop

    def read(self, most: int) -> bytes:
        if self._stop():
            raise Stopped
        return self._stream.read(most)


@dataclass(frozen=True)
class Snapshot:
    """A commit's whole tree. As a `Folder`, it is the tool's part of it."""

    reader: Reader
    entries: dict[str, Entry]
    links: dict[str, str]
    left_out: list[str]
    subdir: str | None
    moment: int
    limits: Limits

    def has(self, path: str) -> bool:
        return self._find(path) is not None

    def read(self, path: str) -> bytes | None:
        entry = self._find(path)
        if entry is None:
            return None
        content = self.reader.content(entry)
        head = content.read(MAX_READ)
        while content.read(MAX_READ):
            pass
        return head

    def _find(self, path: str) -> Entry | None:
        whole = f"{self.subdir}/{path}" if self.subdir else path
        try:
            real = follow(whole, self.links)
        except LeadsOut:
            return None
        return self.entries.get(real) if real is not None else None

    def write_bundle(self, target: Path) -> tuple[str, int]:
        """Writes the tree as a deterministic tar.gz; returns its sha256 and length. Raises `FetchFailed`."""
        with target.open("wb") as file:
            hashed = _Hashed(file)
            # Compressed lightly: the bundle crosses one machine's loopback, and waiting for it costs more.
            with gzip.GzipFile(
                filename="", mode="wb", fileobj=cast("IO[bytes]", hashed), compresslevel=1, mtime=0
            ) as packed:
                self._write(packed)
        return hashed.digest.hexdigest(), hashed.size

    def _write(self, packed: gzip.GzipFile) -> None:
        total = 0
        with tarfile.open(
            fileobj=packed, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
        ) as archive:
            for entry in self._in_order():
                header = tarfile.TarInfo(entry.path)
                header.mtime = self.moment
                if entry.is_link:
                    header.type, header.linkname, header.mode = tarfile.SYMTYPE, self.links[entry.path], 0o777
                    archive.addfile(header)
                    continue
                content = self.reader.content(entry)
                header.mode, header.size = entry.permissions, content.size
                total += header.size
                if total > self.limits.bytes:
                    raise FetchFailed("repository_too_large", too_large(self.limits.bytes, "unpacks to"))
                archive.addfile(header, cast("IO[bytes]", content))

    def _in_order(self) -> Iterable[Entry]:
        return (self.entries[path] for path in sorted(self.entries))


def too_large(limit: int, does: str) -> str:
    return (
        f"The repository {does} more than {limit // 1024**2} MiB, which is the most that is let in here "
        "(MACHETE_FETCH_LIMIT)."
    )


def disk_full() -> FetchFailed:
    return FetchFailed("disk_full", "The disk of the installer is full: free some space, then install again.")


class _Hashed:
    """A file that knows the digest and length of what was written."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()
