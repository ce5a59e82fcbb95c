"""What of a container only a real engine shows: its limits, its files, its network, and who is in the way."""

import asyncio
import base64
import socket
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import docker
import pytest

from services.orchestrator.adapters.containers import DockerContainers
from services.orchestrator.adapters.engine import Engine
from services.orchestrator.adapters.networks import ensure_network
from services.orchestrator.domain.failures import EngineError, PortTaken, ToolExited
from services.orchestrator.domain.specs import ContainerSpec, Limits, VolumeMount
from tests.engine.conftest import printed
from tests.orchestrator.behaviours import ENDS_WELL, IMAGE, SERVES, SLEEPS
from tests.orchestrator.engine_promises import OTHER, WEB, Rig, ignore

MIB = 1024 * 1024


@contextmanager
def a_foreign_container(sdk: docker.APIClient, instance: str, port: int | None = None, **host: Any) -> Iterator[str]:
    """Somebody else's, although its name may look like ours."""
    bindings: dict[int | str, Any] | None = {8080: ("127.0.0.1", port)} if port else None
    made = sdk.create_container(
        IMAGE,
        list(SLEEPS),
        ports=[8080] if port else None,
        name=f"foreign-{instance}",
        host_config=sdk.create_host_config(port_bindings=bindings, **host),
    )
    try:
        yield made["Id"]
    finally:
        sdk.remove_container(made["Id"], force=True)


async def test_every_tool_is_confined_as_its_spec_says(rig: Rig, sdk: docker.APIClient):
    limits = Limits(memory=64 * MIB, cpus=0.5, pids=50)
    placed = await rig.containers.prepare(rig.spec(limits=limits, read_only=True))
    details = sdk.inspect_container(placed.container_id)
    host = details["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (64 * MIB, 500_000_000, 50)
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Config"] == {"max-size": "40m", "max-file": "5"}
    assert host["PortBindings"]["8080/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(placed.host_port)}]
    assert list(details["NetworkSettings"]["Networks"]) == [f"machete-{rig.instance}-{WEB}"]


async def test_environment_values_arrive_whole(rig: Rig):
    wanted = {
        "QUOTES": "\"'`",
        "DOLLAR": "$HOME ${X} $(id)",
        "HASH": "a #b",
        "LINES": "a\nb",
        "EQ": "a=b",
        "EMPTY": "",
        "U": "ü🔧",
    }
    encoded = await printed(rig, "base64 /proc/self/environ | tr -d '\\n'", environment=wanted)
    pairs = base64.b64decode(encoded).decode().split("\0")
    seen = dict(pair.split("=", 1) for pair in pairs if pair)
    assert {name: seen[name] for name in wanted} == wanted


async def test_data_in_volumes_an_image_declares_outlives_the_container(rig: Rig):
    image = (await rig.builder.build(rig.source("VOLUME /keep"), ignore)).reference
    await printed(rig, "echo kept > /keep/file; echo ok", image=image)
    assert await printed(rig, "cat /keep/file", image=image, environment={"A": "new container"}) == "kept"
    removed = await rig.containers.remove(WEB, data=True)
    assert len(removed.volumes) == 1
    assert await rig.hand.volumes(rig.instance) == []


async def test_want_of_memory_is_told(rig: Rig):
    spec = rig.spec(command=("sh", "-c", "tail /dev/zero; exit 9"), limits=Limits(memory=16 * MIB))
    placed = await rig.containers.start(spec)
    with pytest.raises(ToolExited, match="for want of memory") as ended:
        await rig.containers.ready(spec, placed)
    assert ended.value.detail is not None
    assert ended.value.detail["oom"] is True


async def test_what_ended_by_itself_is_seen_with_its_exit_code(rig: Rig):
    spec = rig.spec(command=ENDS_WELL, port=None)
    placed = await rig.containers.start(spec)
    with pytest.raises(ToolExited):
        await rig.containers.ready(spec, placed)
    # It is started again and again: for a moment each time it runs.
    give_up = time.monotonic() + 20
    while (service := (await rig.containers.observe(WEB)).services[0]).state != "restarting":
        assert time.monotonic() < give_up
        await asyncio.sleep(0.02)
    assert service.exit_code == 0


async def test_a_slow_tool_is_waited_for(rig: Rig):
    spec = rig.spec(command=("sh", "-c", f"sleep 0.5; {SERVES[2]}"), health_check="/bin/busybox")
    await rig.containers.ready(spec, await rig.containers.start(spec))


async def test_an_end_while_it_is_waited_for_shows_at_once(rig: Rig):
    spec = rig.spec(command=("sh", "-c", "sleep 0.3; exit 4"), readiness=60.0)
    placed = await rig.containers.start(spec)
    async with asyncio.timeout(5):
        with pytest.raises(ToolExited, match="exit code 4"):
            await rig.containers.ready(spec, placed)


async def test_a_paused_tool_can_be_stopped_and_started(rig: Rig, sdk: docker.APIClient):
    placed = await rig.containers.start(rig.spec())
    sdk.pause(placed.container_id)
    assert (await rig.containers.observe(WEB)).services[0].state == "paused"
    again = await rig.containers.start(rig.spec())
    assert (again.container_id, again.started) == (placed.container_id, True)
    sdk.pause(placed.container_id)
    assert (await rig.containers.stop(WEB, timeout=1)).services[0].state == "exited"


async def test_a_network_removed_by_hand_is_made_again(rig: Rig, sdk: docker.APIClient):
    spec = rig.spec()
    await rig.containers.prepare(spec)
    sdk.remove_network(f"machete-{rig.instance}-{WEB}")
    placed = await rig.containers.start(spec)
    await rig.containers.ready(spec, placed)


async def test_a_container_taken_out_of_its_network_by_force_is_made_again_in_it(rig: Rig, sdk: docker.APIClient):
    first = await rig.containers.start(rig.spec())
    network = f"machete-{rig.instance}-{WEB}"
    sdk.disconnect_container_from_network(first.container_id, network, force=True)
    sdk.remove_network(network)
    placed = await rig.containers.start(rig.spec())
    assert placed.created
    await rig.containers.ready(rig.spec(), placed)
    assert list(sdk.inspect_container(placed.container_id)["NetworkSettings"]["Networks"]) == [network]


async def test_a_container_removed_by_hand_is_made_again(rig: Rig, sdk: docker.APIClient):
    first = await rig.containers.start(rig.spec())
    sdk.remove_container(first.container_id, force=True)
    assert (await rig.containers.start(rig.spec())).created


async def test_a_name_somebody_else_took_is_told_and_left_alone(rig: Rig, sdk: docker.APIClient):
    name = f"machete-{rig.instance}-{WEB}"
    with a_foreign_container(sdk, rig.instance) as foreign:
        sdk.rename(foreign, name)
        with pytest.raises(EngineError, match=f"container {name} that MACHETE did not make") as taken:
            await rig.containers.start(rig.spec())
        assert taken.value.code == "name_taken"
        assert sdk.inspect_container(foreign)["Name"] == f"/{name}"


async def test_a_port_of_a_foreign_stopped_container_is_passed_over(rig: Rig, sdk: docker.APIClient):
    wanted = await rig.containers.prepare(rig.spec())
    await rig.containers.remove(WEB)
    with a_foreign_container(sdk, rig.instance, wanted.host_port):
        assert (await rig.containers.prepare(rig.spec())).host_port != wanted.host_port
    await rig.containers.remove(WEB)
    assert (await rig.containers.prepare(rig.spec())).host_port == wanted.host_port


async def test_a_port_of_another_process_is_passed_over_and_told(rig: Rig):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match="another process") as taken:
            await rig.containers.start(rig.spec(host_port=port))
    assert taken.value.detail is not None
    assert (taken.value.detail["port"], taken.value.detail["holder"]) == (port, None)
    wanted = await rig.containers.prepare(rig.spec(OTHER))
    await rig.containers.remove(OTHER)
    assert wanted.host_port is not None
    with socket.create_server(("127.0.0.1", wanted.host_port)):
        assert (await rig.containers.prepare(rig.spec(OTHER))).host_port != wanted.host_port


async def test_tools_made_at_once_get_different_ports(rig: Rig):
    placed = await asyncio.gather(*(rig.containers.prepare(rig.spec(f"tool{n}-abc234")) for n in range(6)))
    assert len({place.host_port for place in placed}) == 6


@pytest.mark.parametrize("milliseconds", [0.5, 2, 10, 30, 60, 120, 200])
async def test_a_start_cut_off_anywhere_can_be_repeated(rig: Rig, milliseconds: float):
    spec = rig.spec(health_check="/bin/busybox", volumes=(VolumeMount("db", "/db"),))
    await cut_off(rig.containers.start(spec), milliseconds)
    await rig.containers.ready(spec, await rig.containers.start(spec))
    assert len((await rig.containers.observe(WEB)).services) == 1


@pytest.mark.parametrize("milliseconds", [2, 10, 20, 30, 40, 60])
async def test_after_a_start_cut_off_anywhere_a_removal_is_the_end(rig: Rig, milliseconds: float):
    """No container comes into being behind it."""
    await cut_off(rig.containers.start(rig.spec()), milliseconds)
    await rig.containers.remove(WEB, data=True)
    await asyncio.sleep(0.3)
    assert await rig.containers.observe_all() == {}
    assert await rig.hand.networks(rig.instance) == []


@pytest.mark.parametrize("milliseconds", [1, 5, 20, 80])
async def test_a_container_of_ours_that_was_being_made_by_somebody_who_died_makes_way(rig: Rig, milliseconds: float):
    """Its name is taken before the engine lists it, and what was asked of the engine goes on behind the death."""
    for number in range(3):
        await cut_off(rig.containers.start(rig.spec(environment={"N": str(number)})), milliseconds)
    placed = await rig.containers.start(rig.spec(environment={"N": "last"}))
    (service,) = (await rig.containers.observe(WEB)).services
    assert (service.container_id, service.state) == (placed.container_id, "running")


async def cut_off(doing: Coroutine[Any, Any, Any], milliseconds: float) -> None:
    task = asyncio.ensure_future(doing)
    await asyncio.wait({task}, timeout=milliseconds / 1000)
    task.cancel()
    await asyncio.wait({task})


class CountingEngine(Engine):
    """The real engine, with the calls made to it."""

    calls: tuple[str, ...] = ()

    async def read(self, method: Any, path: str, *rest: Any, **options: Any) -> bytes:
        self.calls += (f"{method} {path}",)
        return await super().read(method, path, *rest, **options)


async def test_a_prepared_tool_is_started_with_two_calls(rig: Rig):
    engine = CountingEngine.from_environment()
    assert isinstance(engine, CountingEngine)
    placed = await rig.containers.prepare(rig.spec())
    await DockerContainers(engine, rig.instance, rig.folder / "tools").start(rig.spec())
    assert engine.calls == ("GET /containers/json", f"POST /containers/{placed.container_id}/start")


async def test_a_network_gets_addresses_of_our_pool_when_the_engine_has_none(rig: Rig, sdk: docker.APIClient):
    engine = UsedUpEngine.from_environment()
    spec: ContainerSpec = replace(rig.spec(), command=SLEEPS)
    assert await ensure_network(engine, spec, "10.213.0.0/16")
    (found,) = sdk.networks(names=[spec.network])
    assert found["IPAM"]["Config"][0]["Subnet"].startswith("10.213.")
    assert not await ensure_network(engine, spec, "10.213.0.0/16")


class UsedUpEngine(Engine):
    """The real engine, with its own address pools used up."""

    async def read(self, method: Any, path: str, query: Any = None, body: Any = None, patience: Any = 60.0) -> bytes:
        if path == "/networks/create" and "IPAM" not in body:
            message = "could not find an available, non-overlapping IPv4 address pool among the defaults"
            raise EngineError("engine_error", message, status=400)
        return await super().read(method, path, query, body, patience)
