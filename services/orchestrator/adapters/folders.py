"""The folders of a tool that its containers see: reached through no link, and with the owner that they run as."""

import io
import os
import re
import tarfile
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path

from libs.contracts.problems import Failure
from services.orchestrator.adapters.engine import Engine, path_of
from services.orchestrator.domain.failures import EngineError

MOST_READ = 1024 * 1024


def refuse_links(path: Path, data: Path) -> None:
    """Raises `Failure` where a link stands on the way: a tool could have put it there, to be given what lies beyond."""
    for part in (path, *path.parents):
        if part == data:
            return
        if part.is_symlink():
            shown = path.relative_to(data)
            raise Failure("mount_refused", f"{shown} in the tool's data folder is reached through a link: remove it.")


def give_to(paths: Iterable[Path], owner: tuple[int, int]) -> None:
    """Each, and all below it, to the user that a container runs as; links are not followed."""
    for path in paths:
        os.chown(path, *owner, follow_symlinks=False)
        for _, folders, files, folder in os.fwalk(path):
            for name in (*folders, *files):
                os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)


async def owner_in(engine: Engine, container: str, user: str) -> tuple[int, int] | None:
    """The numbers of the user an image runs as (`1000`, `1000:100`, a name); None for root or unknown."""
    name, _, group = user.partition(":")
    if name in ("", "root", "0"):
        return None
    if name.isdigit():
        return int(name), int(group) if group.isdigit() else int(name)
    for line in (await _file_in(engine, container, "/etc/passwd")).splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 3 and all(re.fullmatch(r"\d{1,9}", each) for each in fields[2:4]):
            return int(fields[2]), int(fields[3])
    return None


async def _file_in(engine: Engine, container: str, path: str) -> str:
    """Its text; empty where there is none, or one so large that it is no such file."""
    archive = bytearray()
    try:
        async with aclosing(engine.stream(path_of("containers", container, "archive"), {"path": path})) as chunks:
            async for chunk in chunks:
                archive += chunk
                if len(archive) > MOST_READ:
                    return ""
    except EngineError as refusal:
        if refusal.status == 404:
            return ""
        raise
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        content = files.extractfile(files.next() or tarfile.TarInfo())
        return content.read().decode("utf-8", "replace") if content else ""
