"""Where the folders and files that a tool binds lie, beside those of every other tool.

A relative path of the manifest or the Compose file means a place in the repository; what the tool sees is a copy of
it in its own data folder, which outlives releases. No place lies within another one: a tool that sees the outer one
could put a link to anywhere in place of the inner one, and the engine looks that up anew at each restart. So the
inner one lies apart, and is mounted over its place wherever the outer one is seen.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

WHOLE = "_tool"
APART = "_within"
ABOVE = "_repository"
_OURS = frozenset({WHOLE, APART, ABOVE})


@dataclass(frozen=True)
class Place:
    """`origin` is relative to the repository, `path` to the tool's data folder.

    `owner` is the first service that writes there, whose user the files are for; None where all only read.
    """

    origin: str
    path: str
    owner: str | None = None


def placed(origins: Mapping[str, str | None], folder: str) -> dict[str, Place]:
    """Where each origin lies; `origins` gives each its owner, `folder` is the tool's folder in the repository."""
    return {origin: Place(origin, _path(origin, origins, folder), owner) for origin, owner in origins.items()}


def outer(origin: str, others: Collection[str]) -> tuple[str, ...]:
    """Those of the others that the origin lies within."""
    path = PurePosixPath(origin)
    return tuple(other for other in others if other != origin and path.is_relative_to(PurePosixPath(other)))


@dataclass(frozen=True)
class Bind:
    """A place of the repository as a container sees it; `target` is absolute in the container."""

    origin: str
    target: PurePosixPath
    read_only: bool = False


def mounted_over(binds: Iterable[Bind], origins: Collection[str], taken: Iterable[PurePosixPath]) -> list[Bind]:
    """What lies within a folder that is bound, but apart from it on the host: it is mounted over its place.

    Not where something is mounted in any case (`taken`), and as what is bound nearest around it, which hides the rest.
    """
    seen, found = set(taken), list[Bind]()
    for bind in sorted(binds, key=lambda bind: -len(bind.target.parts)):
        for origin in origins:
            if bind.origin not in outer(origin, origins):
                continue
            target = bind.target / PurePosixPath(origin).relative_to(bind.origin)
            if target not in seen:
                seen.add(target)
                found.append(Bind(origin, target, bind.read_only))
    return found


def _path(origin: str, origins: Collection[str], folder: str) -> str:
    path = PurePosixPath(origin)
    inside = path.is_relative_to(folder)
    shown = path.relative_to(folder) if inside else path
    if outer(origin, origins):
        return f"{APART}/{'~'.join(part.replace('~', '~0') for part in path.parts)}"
    if shown == PurePosixPath("."):
        return WHOLE if inside else ABOVE
    return str(_beside_ours(shown) if inside else PurePosixPath(ABOVE, shown))


def _beside_ours(shown: PurePosixPath) -> PurePosixPath:
    """A folder of the repository that is called like one of ours would hold the places of others."""
    first = shown.parts[0]
    if "_" + first.lstrip("_") in _OURS and first.startswith("_"):
        return PurePosixPath("_" + first, *shown.parts[1:])
    return shown
