"""BuildKit itself: what a build sees, what it leaves, and that it ends when it is told to."""

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import psutil
import pytest

from libs.contracts.problems import Failure
from services.orchestrator.adapters.builder import BuildxBuilder
from tests.chaos.harness.disks import filled, small_disk
from tests.engine.conftest import eventually
from tests.orchestrator.engine_promises import WEB, Rig, ignore


def processes(word: str) -> list[psutil.Process]:
    """All on this machine, in containers too, that have the word in their command line."""
    return list(_with(word))


def _with(word: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["cmdline"]):
        if any(word in part for part in process.info["cmdline"] or ()):
            yield process


async def sleeping_build(rig: Rig, **options) -> tuple[asyncio.Future, str]:
    """A build that stands in a step which no other build has, and the word to find it by."""
    word = f"90.{int(rig.instance.encode().hex(), 16) % 10**9:09d}"
    building = asyncio.ensure_future(rig.builder.build(rig.source(f"RUN sleep {word}"), ignore, **options))
    await eventually(lambda: building.done() or any(p.info["cmdline"][0] == "sleep" for p in processes(word)), 20)
    assert not building.done()
    return building, word


async def test_a_cancelled_build_leaves_no_process(rig: Rig):
    building, word = await sleeping_build(rig)
    building.cancel()
    await eventually(lambda: not processes(word), 2)
    await asyncio.wait({building})
    await eventually(lambda: not processes(rig.instance), 1)


async def test_a_build_whose_owner_is_gone_leaves_no_process(rig: Rig):
    """`alive` turns false when somebody else owns the operation; the watchdog ends the build."""
    owned = True
    building, word = await sleeping_build(rig, alive=lambda: owned)
    owned = False
    await eventually(lambda: not processes(word), 10)
    await asyncio.wait({building})
    assert isinstance(building.exception(), Failure)


async def test_a_full_disk_is_told_so(rig: Rig, tmp_path: Path):
    assert isinstance(rig.builder, BuildxBuilder)
    with small_disk(tmp_path / "small", 64 * 1024) as disk, filled(disk):
        os.truncate(disk / "ballast", 60 * 1024)  # for what the client is told, and not for what it writes down
        with pytest.raises(Failure, match=r"no space left on device: free some space") as failed:
            await replace(rig.builder, home=disk / "home").build(rig.source("RUN true"), ignore)
    assert failed.value.code == "disk_full"


async def test_an_image_is_labelled_with_its_owner_whatever_its_dockerfile_says(rig: Rig, sdk: docker.APIClient):
    spec = rig.source("LABEL io.machete.tool=victim-abc234 io.machete.instance=other io.machete.release=x")
    built = await rig.builder.build(spec, ignore)
    labels = sdk.inspect_image(built.reference)["Config"]["Labels"]
    assert labels["io.machete.instance"] == rig.instance
    assert labels["io.machete.tool"] == WEB
    assert labels["io.machete.release"] == spec.release


async def test_a_tag_somebody_else_set_is_not_taken_for_the_release(rig: Rig, sdk: docker.APIClient):
    spec = rig.source("RUN echo ours > /ours")
    sdk.tag("machete-busybox:latest", f"machete/{rig.instance}/{WEB}", spec.release)
    assert not (await rig.builder.build(spec, ignore)).reused


async def test_a_build_knows_nothing_of_the_platforms_environment(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MACHETE_CANARY", "canary")
    monkeypatch.setenv("HTTP_PROXY", "http://canary.invalid")
    seen: list[str] = []

    async def log(lines: list[str]) -> None:
        seen.extend(lines)

    await rig.builder.build(rig.source("ARG GREETING=none", f"RUN env; echo {rig.instance}"), log)
    assert any("PATH=" in line for line in seen)
    assert not any("canary" in line for line in seen)


async def test_build_arguments_arrive_whole(rig: Rig):
    seen: list[str] = []

    async def log(lines: list[str]) -> None:
        seen.extend(lines)

    spec = replace(rig.source("ARG GREETING", 'RUN echo "<$GREETING>"'), arguments={"GREETING": "a b; $(id) 'c'"})
    await rig.builder.build(spec, log)
    assert any("<a b; $(id) 'c'>" in line for line in seen)


async def test_a_base_image_can_be_given(rig: Rig):
    spec = rig.source()
    (spec.source / "Dockerfile").write_text("ARG BASE_IMAGE=python:3.12-slim\nFROM ${BASE_IMAGE}\nRUN true\n")
    await rig.builder.build(replace(spec, arguments={"BASE_IMAGE": "machete-busybox:latest"}), ignore)


async def test_a_dockerfile_that_cannot_be_read_is_told(rig: Rig):
    with pytest.raises(Failure, match=r"parse error on line 2: unknown instruction: FRM"):
        await rig.builder.build(rig.source("FRM x"), ignore)


async def test_a_tool_in_a_sub_folder_sees_only_its_folder(rig: Rig):
    spec = rig.source()
    folder = spec.source / "tools" / "web"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM machete-busybox:latest\nCOPY . /in\nRUN test ! -e /in/tools\n")
    await rig.builder.build(replace(spec, subdir="tools/web"), ignore)


async def test_building_the_same_release_twice_at_once_does_no_harm(rig: Rig):
    spec = rig.source("RUN sleep 0.2")
    built = await asyncio.gather(*(rig.builder.build(spec, ignore) for _ in range(2)))
    assert built[0].reference == built[1].reference


async def test_lines_come_while_the_build_runs(rig: Rig):
    arrived: dict[str, float] = {}

    async def log(lines: list[str]) -> None:
        for line in lines:
            arrived.setdefault(line.split(" ")[-1], time.monotonic())

    steps = f"for i in 1 2 3 4; do echo {rig.instance}-$i; sleep 0.4; done"
    await rig.builder.build(rig.source(f"RUN {steps}"), log)
    ended = time.monotonic()
    assert ended - arrived[f"{rig.instance}-1"] > 1.2
    assert arrived[f"{rig.instance}-4"] - arrived[f"{rig.instance}-1"] > 0.8
