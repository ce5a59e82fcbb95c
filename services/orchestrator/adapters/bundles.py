"""Unpacks a release bundle into a folder, and nothing of it anywhere else.

A bundle holds what somebody committed to a repository. It may name any path, link anywhere and claim any
size, so every entry is judged here before it is written, and what links really lead to is judged at the end.
"""

import errno
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from services.orchestrator.domain.failures import BundleRefused

MOST_BYTES = 2 * 1024**3
MOST_ENTRIES = 200_000
COPY_CHUNK = 1024 * 1024


def unpack(bundle: Path, target: Path, *, most_bytes: int = MOST_BYTES, most_entries: int = MOST_ENTRIES) -> None:
    """Make `target` hold the whole bundle, or not exist at all. One that exists is a bundle unpacked before.

    Files become 0644 or, where executable, 0755, and belong to this process. Raises BundleRefused.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        working.chmod(0o755)
        with tarfile.open(bundle, mode="r|gz") as archive:
            for entry in _bounded(archive, most_bytes, most_entries):
                _write(archive, entry, working)
        _judge_links(working)
        _settle(working, target)
    except (tarfile.TarError, EOFError, zlib.error) as broken:
        raise BundleRefused(f"The bundle {bundle.name} cannot be read: {broken}.") from broken
    except OSError as broken:
        if broken.errno != errno.ENAMETOOLONG:
            raise
        raise BundleRefused(f"A name in the bundle is too long: {broken.filename!r:.100}.") from broken
    finally:
        if working.exists():
            shutil.rmtree(working)


def _bounded(archive: tarfile.TarFile, most_bytes: int, most_entries: int) -> Iterator[tarfile.TarInfo]:
    """The entries, as long as what they claim stays within bounds; the claim is what is read, not more."""
    claimed = 0
    for count, entry in enumerate(archive, start=1):
        claimed += entry.size
        if count > most_entries:
            raise BundleRefused(f"The bundle has more than {most_entries} files and folders.")
        if claimed > most_bytes:
            raise BundleRefused(f"The bundle unpacks to more than {most_bytes} bytes.")
        yield entry


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, root: Path) -> None:
    path = _place(entry.name, root)
    if path == root and entry.isdir():
        return
    if os.path.lexists(path) and not (entry.isdir() and path.is_dir() and not path.is_symlink()):
        raise BundleRefused(f"The bundle has {entry.name!r} twice.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.isdir():
        path.mkdir(exist_ok=True)
    elif entry.isreg():
        _copy(archive, entry, path)
    elif entry.issym():
        _check_link(entry)
        path.symlink_to(entry.linkname)
    elif entry.islnk():
        _hard_link(entry, path, root)
    else:
        raise BundleRefused(f"{entry.name!r} in the bundle is neither a file, a folder nor a link.")


def _place(name: str, root: Path) -> Path:
    """Where an entry goes. No part of the way there may be a link, so that nothing is written through one."""
    parts = PurePosixPath(name).parts
    if not name or "\0" in name or name.startswith("/") or ".." in parts:
        raise BundleRefused(f"{name!r} in the bundle leads out of it.")
    path = root
    for part in parts[:-1]:
        path /= part
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise BundleRefused(f"{name!r} in the bundle lies below something that is no folder.")
    return root.joinpath(*parts)


def _copy(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    content = archive.extractfile(entry)
    assert content is not None
    with path.open("xb") as file:
        shutil.copyfileobj(content, file, COPY_CHUNK)
    path.chmod(0o755 if entry.mode & 0o111 else 0o644)


def _check_link(entry: tarfile.TarInfo) -> None:
    if entry.linkname.startswith("/") or not entry.linkname or "\0" in entry.linkname:
        raise _leads_out(entry.name, entry.linkname)


def _hard_link(entry: tarfile.TarInfo, path: Path, root: Path) -> None:
    original = _place(entry.linkname, root)
    if original.is_symlink() or not original.is_file():
        raise BundleRefused(f"{entry.name!r} in the bundle is a link to {entry.linkname!r}, which is no file of it.")
    path.hardlink_to(original)


def _judge_links(root: Path) -> None:
    """Where links lead through one another shows only when all are there."""
    inside = os.path.realpath(root)
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                continue
            real = os.path.realpath(path)
            if real != inside and not real.startswith(inside + os.sep):
                raise _leads_out(os.path.relpath(path, root), os.readlink(path))


def _leads_out(name: str, link: str) -> BundleRefused:
    return BundleRefused(f"{name!r} in the bundle is a link out of it, to {link!r}: link inside the repository only.")


def _settle(working: Path, target: Path) -> None:
    """All at once. Whoever was faster unpacked the same bundle."""
    try:
        working.rename(target)
    except OSError:
        if not target.is_dir():
            raise
