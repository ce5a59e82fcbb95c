"""The folders of a tool that its container sees: what is in them, whose they are, and what is not let in."""

import os
import shutil
from typing import Any

import pytest

from libs.contracts.problems import Failure
from services.orchestrator.adapters.seeding import seed_noting
from services.orchestrator.adapters.unowned import Unowned
from services.orchestrator.domain.container_body import places_of
from services.orchestrator.domain.specs import FolderMount
from tests.engine.conftest import data_of, printed
from tests.orchestrator.engine_promises import WEB, Rig, ignore


async def test_data_in_relative_mounts_outlives_the_container(rig: Rig):
    folders = (FolderMount("./data", "/app/data"), FolderMount("deep/config", "/app/config", read_only=True))
    assert await printed(rig, "echo kept > /app/data/file; echo written", folders=folders) == "written"
    assert (data_of(rig) / "data/file").read_text() == "kept\n"
    assert (data_of(rig) / "deep/config").is_dir()
    again = await printed(rig, "cat /app/data/file", folders=folders, environment={"A": "new container"})
    assert again == "kept"
    assert "Read-only" in await printed(rig, "touch /app/config/x 2>&1", folders=folders)


async def test_what_the_repository_ships_is_in_the_folder_once_and_stays_as_it_was_left(rig: Rig):
    repository = rig.folder / "repository"
    (repository / "config").mkdir(parents=True)
    (repository / "config/default.json").write_text("shipped")
    (repository / "one.conf").write_text("a file")
    folders = (
        FolderMount("config", "/app/config", read_only=True),
        FolderMount("one.conf", "/etc/one.conf"),
        FolderMount("none", "/none"),
    )
    about: dict[str, Any] = {"folders": folders, "source": repository}
    look = "cat /app/config/default.json /etc/one.conf; ls -d /none/."
    assert await printed(rig, f"{look} | tr '\\n' ' '", **about) == "shippeda file/none/. "
    (data_of(rig) / "config/default.json").write_text("touched ")
    (data_of(rig) / "one.conf").unlink()
    (repository / "one.conf").write_text("a newer file")
    assert await printed(rig, f"{look} | tr '\\n' ' ' #", **about) == "touched a newer file/none/. "


async def test_what_is_shipped_belongs_to_the_tool_s_user_where_it_writes(rig: Rig):
    built = await rig.builder.build(rig.source("USER 1234:2345"), ignore)
    repository = rig.folder / "repository"
    for name in ("mine", "read"):
        (repository / name / "deep").mkdir(parents=True)
        (repository / name / "deep/file").touch()
    folders = (FolderMount("mine", "/mine"), FolderMount("read", "/read", read_only=True))
    await rig.containers.prepare(rig.spec(image=built.reference, folders=folders, source=repository))
    owners = {path.relative_to(data_of(rig)).parts[0]: path.stat().st_uid for path in data_of(rig).glob("*/deep/file")}
    assert owners == {"mine": 1234, "read": os.getuid()}


async def test_a_link_a_tool_made_in_its_data_cannot_mount_the_host(rig: Rig):
    """It writes the link while it sees the folder around; a later release asks for the folder of that name."""
    await rig.containers.prepare(rig.spec(folders=(FolderMount("data", "/app/data"),)))
    (data_of(rig) / "data/sub").symlink_to("/etc")
    with pytest.raises(Failure, match="is reached through a link: remove it") as refused:
        await rig.containers.start(rig.spec(folders=(FolderMount("data/sub", "/app/sub"),)))
    assert refused.value.code == "mount_refused"


async def test_a_mount_within_a_mount_makes_no_container(rig: Rig):
    folders = (FolderMount(".", "/all"), FolderMount("sub", "/sub"))
    with pytest.raises(Failure, match="one within the other"):
        await rig.containers.prepare(rig.spec(folders=folders))
    assert (await rig.containers.observe(WEB)).services == ()


@pytest.mark.parametrize(
    ("lines", "owner"),
    [
        (("USER 1234:2345",), (1234, 2345)),
        (("RUN echo 'tool:x:4321:5432::/:/bin/sh' > /etc/passwd", "USER tool"), (4321, 5432)),
        (("USER 0",), (0, 0)),
    ],
    ids=["numbers", "name", "root"],
)
async def test_a_folder_belongs_to_the_user_the_image_runs_as(rig: Rig, lines: tuple[str, ...], owner: tuple[int, int]):
    built = await rig.builder.build(rig.source(*lines), ignore)
    await rig.containers.prepare(rig.spec(image=built.reference, folders=(FolderMount("a/b", "/b"),)))
    found = os.stat(data_of(rig) / "a/b")
    assert (found.st_uid, found.st_gid) == owner


@pytest.mark.parametrize("cut_off", ["before its container is made", "before it is given away"])
async def test_a_folder_whose_maker_was_cut_off_belongs_to_the_user_all_the_same(rig: Rig, cut_off: str):
    built = await rig.builder.build(rig.source("USER 1234:2345"), ignore)
    spec = rig.spec(image=built.reference, folders=(FolderMount("a/b", "/b"),))
    if cut_off == "before it is given away":
        await rig.containers.prepare(spec)
        shutil.rmtree(data_of(rig))
    unowned = Unowned(data_of(rig).with_name("unowned.json"))
    made = seed_noting(places_of(spec.folders), None, data_of(rig), unowned)
    assert {path.stat().st_uid for path in made} == {os.getuid()}
    await rig.containers.prepare(spec)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(1234, 2345)}
    assert sorted(path.name for path in data_of(rig).parent.iterdir()) == ["data"]
