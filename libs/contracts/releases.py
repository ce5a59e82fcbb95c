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


class Release(Frozen):
    """`bundle` names the source bundle in the object store, `image` is the built image's tag (None before that)."""

    id: str = Field(pattern=r"^[a-z2-7]{12}$")
    commit: str = Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    version: str
    bundle: str
    subdir: str | None = None
    manifest: ResolvedManifest
    image: str | None = None


def release_id(commit: str, subdir: str | None, manifest: ResolvedManifest) -> str:
    """The same source and manifest are the same release."""
    return derived_word(12, "release", commit, subdir or "", manifest.model_dump_json())
