"""A release: an immutable snapshot of a tool."""

from pydantic import Field

from libs.contracts.envelope import Frozen
from libs.contracts.manifest import ResolvedManifest
from libs.contracts.names import derived_word


class Source(Frozen):
    """Where a tool comes from; `ref` None is the repository's default branch, `subdir` None its root."""

    git_url: str
    ref: str | None = None
    subdir: str | None = None


class StackService(Frozen):
    """A service of a stack and what it runs from. A `job` is done once it has ended with 0; any other keeps running.

    `replicas` is how many containers of it run.
    """

    name: str
    image: str
    job: bool = False
    replicas: int = 1


class Release(Frozen):
    """`bundle` names the source bundle in the object store, `image` is the built image's tag (None before that).

    A stack has `services` instead of an image, all that its Compose file starts by itself.
    """

    id: str = Field(pattern=r"^[a-z2-7]{12}$")
    commit: str = Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    version: str
    bundle: str
    subdir: str | None = None
    manifest: ResolvedManifest
    image: str | None = None
    services: tuple[StackService, ...] = ()


def release_id(commit: str, subdir: str | None, manifest: ResolvedManifest) -> str:
    """The same source and manifest are the same release."""
    return derived_word(12, "release", commit, subdir or "", manifest.model_dump_json())
