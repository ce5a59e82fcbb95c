"""What a single container sees of the host: folders of the tool's own, by the rules that hold for a stack's."""

from typing import Any

from libs.contracts.manifest import ResolvedManifest
from services.orchestrator.domain.container_body import places_of
from services.orchestrator.domain.plan import container_spec
from services.orchestrator.domain.specs import FolderMount
from services.orchestrator.domain.stacks.places import Place
from tests.bus.sketch import tool


def folders(*volumes: tuple[str, str, bool], subdir: str | None = None) -> tuple[FolderMount, ...]:
    stated: list[dict[str, Any]] = [
        {"kind": "path", "source": source, "target": target, "read_only": read_only}
        for source, target, read_only in volumes
    ]
    manifest = ResolvedManifest.model_validate(
        {"name": "web", "version": "1.0.0", "manifest_file": "machete.yml", "volumes": stated}
    )
    plain = tool("web-abc234", "web")
    release = plain.release.model_copy(update={"manifest": manifest, "subdir": subdir})
    return container_spec("abcd2345", plain.model_copy(update={"release": release})).folders


def test_a_relative_volume_is_filled_from_the_tool_s_folder_in_the_repository():
    config = FolderMount("config", "/app/config", True, "config")
    assert folders(("config", "/app/config", True)) == (config,)
    assert folders(("config", "/app/config", True), subdir="tools/one") == (
        FolderMount("config", "/app/config", True, "tools/one/config"),
    )


def test_a_folder_within_another_lies_apart_and_is_mounted_over_its_place():
    found = folders((".", "/code", True), ("data", "/data", False))
    assert found == (
        FolderMount("_tool", "/code", True, "."),
        FolderMount("_within/data", "/data", False, "data"),
        FolderMount("_within/data", "/code/data", True, "data"),
    )
    assert set(places_of(found)) == {Place(".", "_tool", None), Place("data", "_within/data", "app")}


def test_a_place_that_is_written_to_anywhere_is_its_user_s():
    for volumes in ((("a", "/r", True), ("a", "/w", False)), (("a", "/w", False), ("a", "/r", True))):
        assert places_of(folders(*volumes)) == (Place("a", "a", "app"),)
