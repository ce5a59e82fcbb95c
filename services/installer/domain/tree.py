"""A commit's tree as a list of entries, and where the links in it lead."""

import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from services.installer.domain.failures import FetchFailed

MAX_PATH = 1000
MAX_HOPS = 40
MAX_STEPS = 200_000


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


class LeadsTooFar(ValueError):
    """A path that takes more steps than are left."""


@dataclass
class Steps:
    """How many parts of paths may still be gone."""

    left: int = MAX_STEPS


def follow(path: str, links: Mapping[str, str], steps: Steps | None = None) -> str | None:
    """Where a path really leads: `links` are all links of the tree and their targets.

    Links are followed as the kernel does it, one part at a time, so that one which looks harmless and leads
    out over another one is seen. None for a circle. Takes what it goes from `steps`. Raises `LeadsOut` and
    `LeadsTooFar`.
    """
    steps = steps or Steps()
    waiting = path.split("/")[::-1]
    here: list[str] = []
    length = 0
    hops = 0
    while waiting:
        part = waiting.pop()
        steps.left -= 1
        if steps.left < 0:
            raise LeadsTooFar(path)
        if part in ("", "."):
            continue
        if part == "..":
            if not here:
                raise LeadsOut(path)
            length -= len(here.pop()) + 1
            continue
        here.append(part)
        length += len(part) + 1
        # No link's path is longer, and joining long ones for every part is what would cost.
        target = links.get("/".join(here)) if length <= MAX_PATH + 1 else None
        if target is None:
            continue
        hops += 1
        if hops > MAX_HOPS:
            return None
        if target.startswith("/"):
            raise LeadsOut(path)
        length -= len(here.pop()) + 1
        waiting += target.split("/")[::-1]
    return "/".join(here)


def check_name(name: str, path: str) -> None:
    """Raises `FetchFailed` for an entry's name that means another place, or Git's own files, where it is unpacked."""
    if name in ("", ".", "..") or name.lower() == ".git" or "/" in name or "\0" in name:
        raise FetchFailed(
            "repository_unsafe",
            f"The repository has an entry that no file can be made of: {path!r:.200}; a name is no dots alone, "
            "not .git, and holds no slash and no NUL.",
        )


def check_links(links: Mapping[str, str], between: Callable[[], None] = lambda: None) -> None:
    """Raises `FetchFailed` naming the first link that leads out of the repository, or could not be kept.

    All links together may take `MAX_STEPS` steps. `between` is called before each link, and may raise.
    """
    steps = Steps()
    for path in sorted(links):
        between()
        if "\0" in links[path] or not links[path]:
            raise FetchFailed("repository_unsafe", f"The link {path} in the repository has no readable target.")
        try:
            follow(path, links, steps)
        except LeadsTooFar:
            raise FetchFailed(
                "repository_unsafe",
                f"The links in the repository lead over more than {MAX_STEPS} folders, at {path:.200}; "
                "have fewer links, or shorter targets.",
            ) from None
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
    there = f"there are {', '.join(folders[:10])}" if folders else "it has none: leave the folder out"
    raise FetchFailed("subdir_not_found", f"The repository has no folder {subdir}; {there}.")
