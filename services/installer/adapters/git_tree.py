"""Reads a commit out of a bare repository: no work tree, no filter, no hook.

Blocking: called in a thread. `stop` is looked at between one object and the next.
"""

import gzip
import hashlib
import importlib
import stat
import tarfile
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from services.installer.adapters.git_objects import Content, Objects, Stopped, objects
from services.installer.domain.failures import FetchFailed
from services.installer.domain.tree import MAX_PATH, Entry, LeadsOut, check_folder, check_links, check_name, follow

if TYPE_CHECKING:
    from git import Commit, Repo

FULL_NAME = 40
MAX_LINK = 4096
MAX_TREE = 16 * 1024**2
MAX_READ = 1024 * 1024
MAX_TIME = 2**33 - 1  # what a tar header holds
SUBMODULE = 0o160000


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

    with objects(repository, environment, stop) as contents:
        repo = Repo(repository, expand_vars=False)
        repo.git.update_environment(**environment, GIT_DIR=str(repository))
        try:
            yield Reader(repo, contents, stop)
        finally:
            repo.close()


class Reader:
    def __init__(self, repo: "Repo", contents: Objects, stop: Callable[[], bool]):
        self._repo = repo
        self._contents = contents
        self._stop = stop

    def commit(self, name: str) -> "Commit | None":
        """The commit that a full object name or the beginning of a commit's stands for, through tag objects."""
        from git import Commit

        key = bytes.fromhex(name) if len(name) == FULL_NAME else self._complete(name)
        while key is not None and (found := self._contents.open(key)) is not None:
            if found.kind == "commit":
                return Commit(self._repo, key)
            tagged = found.kind == "tag" and found.size <= MAX_READ
            key = bytes.fromhex(found.read_all().split()[1].decode()) if tagged else None
        return None

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
        check_links(links, self._check_stop)
        if subdir is not None:
            check_folder(subdir, entries.keys())
        moment = min(max(commit.committed_date, 0), MAX_TIME)
        return Snapshot(self, entries, links, left_out, subdir, moment, limits)

    def _check_stop(self) -> None:
        if self._stop():
            raise Stopped

    def content(self, entry: Entry) -> Content:
        """To be read before the next one is asked for."""
        found = self._contents.open(entry.key)
        if found is None or found.kind != "blob":
            raise FetchFailed("repository_unsafe", f"The repository has no content for {entry.path:.200}.")
        return found

    def _walk(self, commit: "Commit", limits: Limits) -> tuple[dict[str, Entry], list[str]]:
        """All entries but the submodules, which are told apart. Counted before kept: a few kilobytes can stand
        for a tree of a billion files."""
        entries: dict[str, Entry] = {}
        folders: set[str] = set()
        left_out: list[str] = []
        known: dict[bytes, list[tuple[bytes, int, str]]] = {}
        waiting = [("", commit.tree.binsha)]
        while waiting:
            prefix, tree = waiting.pop()
            if tree not in known:
                known[tree] = self._listing(tree, prefix)
            for key, mode, name in known[tree]:
                path = prefix + name
                check_name(name, path)
                count = len(entries) + len(folders) + len(left_out)
                self._check(path, count, limits, seen=path in entries or path in folders)
                if stat.S_ISDIR(mode):
                    folders.add(path)
                    waiting.append((f"{path}/", key))
                elif mode == SUBMODULE:
                    left_out.append(path)
                else:
                    entries[path] = Entry(path, mode, key)
        return entries, left_out

    def _listing(self, tree: bytes, place: str) -> list[tuple[bytes, int, str]]:
        from git.objects.fun import tree_entries_from_data

        found = self._contents.open(tree)
        if found is None or found.kind != "tree" or found.size > MAX_TREE:
            raise FetchFailed("repository_unsafe", f"The repository's folder {place:.200} cannot be read.")
        try:
            return tree_entries_from_data(found.read_all())
        except ValueError as error:
            raise FetchFailed(
                "repository_unsafe", f"The repository has an entry that no file can be made of: {error!s:.200}"
            ) from error

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
        return content.read_all().decode(errors="surrogateescape")


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
        return self.reader.content(entry).read(MAX_READ)

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
        f"The repository {does} more than {limit / 1024**2:.3g} MiB, the most that is let in here: make it smaller, or "
        "let more in with MACHETE_FETCH_LIMIT."
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
