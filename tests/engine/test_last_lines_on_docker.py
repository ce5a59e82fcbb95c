"""What a container said before it ended, of an engine that starts it again and again."""

import asyncio
import time
from typing import Any

import docker
import pytest

from services.orchestrator.domain.failures import NotReady, ToolExited
from services.orchestrator.domain.specs import ContainerSpec, VolumeMount
from tests.engine.conftest import eventually
from tests.orchestrator.engine_promises import Rig

COUNTED = "n=$(cat /kept/n 2>/dev/null || echo 0); echo $((n+1)) > /kept/n; echo run $n; echo of run $n"


def spec_of(rig: Rig, script: str, **changes: Any) -> ContainerSpec:
    command = ("sh", "-c", f"{COUNTED}; {script}")
    return rig.spec(**{"command": command, "port": None, "volumes": (VolumeMount("kept", "/kept"),), **changes})


async def said_in_the_end(rig: Rig, spec: ContainerSpec) -> list[str]:
    placed = await rig.containers.start(spec)
    with pytest.raises((ToolExited, NotReady)) as failed:
        await rig.containers.ready(spec, placed)
    assert failed.value.detail is not None
    return failed.value.detail["log"]


async def test_the_last_lines_are_those_of_one_run_though_the_engine_has_started_it_many_times(
    rig: Rig, sdk: docker.APIClient
):
    spec = spec_of(rig, "exit 3")
    placed = await rig.containers.start(spec)
    await eventually(lambda: sdk.inspect_container(placed.container_id)["RestartCount"] >= 3, 20)
    with pytest.raises(ToolExited) as ended:
        await rig.containers.ready(spec, placed)
    assert ended.value.detail is not None
    said = ended.value.detail["log"]
    run = said[0].removeprefix("run ")
    assert said == [f"run {run}", f"of run {run}"]
    assert int(run) >= 2


async def test_what_it_printed_before_it_was_stopped_is_not_why_it_ended_this_time(rig: Rig):
    spec = spec_of(rig, "[ $n != 0 ] && exit 3; sleep 1000 & wait $!")
    placed = await rig.containers.start(spec)
    await rig.containers.ready(spec, placed)
    await rig.containers.stop(spec.tool, timeout=0)
    said = await said_in_the_end(rig, spec)
    run = said[0].removeprefix("run ")
    assert said == [f"run {run}", f"of run {run}"]
    assert int(run) >= 1  # the engine starts it again, on a busy machine more than once before anybody looks


async def test_why_it_ended_is_told_at_once_by_one_whose_clock_is_ahead_of_the_engine_s(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    """An engine that is asked what happened until an instant answers when that has come."""
    ours = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: ours() + 3_600 * 10**9)
    async with asyncio.timeout(30):
        assert (await said_in_the_end(rig, spec_of(rig, "exit 3")))[0].startswith("run ")


async def test_one_that_is_not_ready_in_time_shows_what_it_prints_now(rig: Rig):
    spec = spec_of(rig, "sleep 1000 & wait $!", port=8080, readiness=1.0)
    assert await said_in_the_end(rig, spec) == ["run 0", "of run 0"]
    await rig.containers.stop(spec.tool, timeout=0)
    assert await said_in_the_end(rig, spec) == ["run 1", "of run 1"]
