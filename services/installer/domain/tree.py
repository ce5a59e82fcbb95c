"""A commit's tree as a list of entries, and where the links in it lead."""

import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from services.installer.domain.failures import FetchFailed

MAX_PATH = 1000
MAX_HOPS = 40


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or link; `key` is what its content is found under, `mode` is Git's."""

    path: str
    mode: int
    key: bytes

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def permissions(self) -> int:
        return 0o755 if self.mode & 0o100 else 0o644


class LeadsOut(ValueError):
    """A path that follows links out of the repository."""


def follow(path: str, links: Mapping[str, str]) -> str | None:
    """Where a path really leads: `links` are all links of the tree and their targets.

    Links are followed as the kernel does it, one part at a time, so that one which looks harmless and leads
    out over another one is seen. None for a circle. Raises `LeadsOut`.
    """
    waiting = path.split("/")[::-1]
    here: list[str] = []
    hops = 0
    while waiting:
        part = waiting.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not here:
                raise LeadsOut(path)
            here.pop()
            continue
        here.append(part)
        target = links.get("/".join(here))
        if target is None:
            continue
        hops += 1
        if hops > MAX_HOPS:
            return None
        if target.startswith("/"):
            raise LeadsOut(path)
        here.pop()
        waiting += target.split("/")[::-1]
    return "/".join(here)


def check_links(links: Mapping[str, str]) -> None:
    """Raises `FetchFailed` naming the first link that leads out of the repository, or could not be kept."""
    for path in sorted(links):
        if "\0" in links[path] or not links[path]:
            raise FetchFailed("repository_unsafe", f"The link {path} in the repository has no readable target.")
        try:
            follow(path, links)
        except LeadsOut:
            raise FetchFailed(
                "link_leads_out",
                f"The link {path} leads out of the repository; replace it with the file it stands for, or take it out.",
            ) from None


def check_folder(subdir: str, paths: Collection[str]) -> None:
    """Raises `FetchFailed`, naming the folders there are, if the tree has no such folder."""
    if any(path.startswith(f"{subdir}/") for path in paths):
        return
    parent = subdir.rpartition("/")[0]
    prefix = f"{parent}/" if any(path.startswith(f"{parent}/") for path in paths) else ""
    inside = (path.removeprefix(prefix) for path in paths if path.startswith(prefix))
    folders = sorted({prefix + path.split("/")[0] for path in inside if "/" in path})
    there = f"there are {', '.join(folders[:10])}" if folders else "it has no folders"
    raise FetchFailed("subdir_not_found", f"The repository has no folder {subdir}; {there}.")
