"""What of Compose stacks only a real engine and a real Compose show: repeated, cut off, and short of addresses."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import docker
import pytest

from libs.contracts.manifest import ResolvedManifest
from libs.contracts.releases import Release, Source
from libs.contracts.tools import Tool, ToolState
from libs.runtime.children import Children
from services.orchestrator.adapters.compose import Compose, Project
from services.orchestrator.adapters.containers import DockerContainers
from services.orchestrator.adapters.engine import Engine
from services.orchestrator.adapters.stack_watch import StackWatch
from services.orchestrator.adapters.stacks import DockerStacks
from services.orchestrator.domain.failures import EngineError, ToolExited
from services.orchestrator.domain.observations import ServiceObservation
from services.orchestrator.ports import always
from tests.orchestrator.behaviours import IMAGE, SERVES, SLEEPS

TOOL, RELEASE = "stack-abc234", "r2r2r2r2r2r2"
POOL = "10.213.0.0/16"


@dataclass
class Shelf:
    """A workshop with one release of one tool, which is unpacked when it is asked for."""

    tools: Path
    files: Mapping[str, str]

    async def source(self, tool: Tool) -> Path:
        folder = self.tools / tool.id / "releases" / tool.release.id / "source"
        for name, text in self.files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return folder

    async def remove(self, tool: str, *, data: bool) -> None:
        return None


@dataclass
class Rig:
    stacks: DockerStacks
    containers: DockerContainers
    tool: Tool

    async def built(self) -> None:
        self.tool = await self.stacks.build(self.tool, _silence)

    async def services(self) -> dict[str, ServiceObservation]:
        return {each.name: each for each in (await self.containers.observe(TOOL)).services}


async def _silence(_: list[str]) -> None:
    return None


def a_tool(**said: Any) -> Tool:
    about = {"name": "stack", "version": "1", "manifest_file": "compose.yaml", "kind": "stack"}
    manifest = ResolvedManifest.model_validate({**about, "compose": "compose.yaml", "readiness_timeout": 30, **said})
    now = datetime.now(UTC)
    return Tool(
        id=TOOL,
        name="stack",
        kind="stack",
        state=ToolState.STOPPED,
        since=now,
        source=Source(git_url="https://git.example.org/x.git"),
        release=Release(id=RELEASE, commit="0" * 40, version="1", bundle="b", manifest=manifest),
        installed_at=now,
    )


@pytest.fixture
def make(engine: Engine, instance: str, tmp_path: Path) -> Callable[..., Rig]:
    def rig(services: Mapping[str, Any], compose: type[Compose] = Compose, **top: Any) -> Rig:
        tools = tmp_path / "tools"
        files = {"compose.yaml": json.dumps({"services": services, **top}), "Dockerfile": f"FROM {IMAGE}\n"}
        client = compose(engine, Children(), tmp_path / "compose")
        stacks = DockerStacks(engine, instance, tools, client, Shelf(tools, files), {}, POOL)
        return Rig(stacks, DockerContainers(engine, instance, tools), a_tool())

    return rig


def sleeps(**more: Any) -> dict[str, Any]:
    return {"image": IMAGE, "command": list(SLEEPS), "init": True, **more}


def serves(**more: Any) -> dict[str, Any]:
    command = [word.replace("$", "$$") for word in SERVES]
    return {"image": IMAGE, "command": command, "ports": ["8080"], **more}


async def test_what_is_built_prepared_and_started_again_stays_as_it_is(make: Callable[..., Rig]):
    rig = make({"web": serves(build="."), "db": sleeps()})
    await rig.built()
    images = [service.image for service in rig.tool.release.services]
    await rig.stacks.prepare(rig.tool)
    prepared = await rig.services()
    assert {each.state for each in prepared.values()} == {"created"}
    assert await rig.stacks.start(rig.tool) is True
    running = await rig.services()
    assert {name: each.container_id for name, each in running.items()} == {
        name: each.container_id for name, each in prepared.items()
    }
    await rig.built()
    await rig.stacks.prepare(rig.tool)
    assert await rig.stacks.start(rig.tool) is False
    assert await rig.services() == running
    assert [service.image for service in rig.tool.release.services] == images


@pytest.mark.parametrize("milliseconds", [20, 150, 300, 500, 800])
async def test_a_start_cut_off_anywhere_can_be_repeated_and_stopped(make: Callable[..., Rig], milliseconds: float):
    rig = make({"web": serves(depends_on=["app"]), "app": sleeps(depends_on=["db"]), "db": sleeps()})
    await rig.built()
    starting = asyncio.ensure_future(rig.stacks.start(rig.tool))
    await asyncio.wait({starting}, timeout=milliseconds / 1000)
    starting.cancel()
    await asyncio.wait({starting})
    assert not any(each.is_up for each in (await rig.containers.stop(TOOL, 1)).services)
    await rig.stacks.start(rig.tool)
    assert {name: each.state for name, each in (await rig.services()).items()} == dict.fromkeys(
        ("app", "db", "web"), "running"
    )


class UsedUpCompose(Compose):
    """The real Compose, on an engine that has no addresses of its own left for a network."""

    cut_off: ClassVar = False

    async def create(self, project: Project, alive: Callable[[], bool] = always) -> None:
        if self.cut_off:
            raise asyncio.CancelledError
        self._check(project)
        await super().create(project, alive)

    async def up(self, project: Project, alive: Callable[[], bool] = always) -> None:
        self._check(project)
        await super().up(project, alive)

    def _check(self, project: Project) -> None:
        networks = json.loads(project.file.read_text())["networks"].values()
        if not all(network.get("ipam", {}).get("config") for network in networks):
            raise EngineError(
                "compose_failed",
                "The stack could not be made ready: failed to create network x: could not find an available, "
                "non-overlapping IPv4 address pool among the defaults to assign to the network.",
            )


async def test_networks_get_addresses_of_our_pool_when_the_engine_has_none_and_start_takes_them(
    make: Callable[..., Rig], sdk: docker.APIClient, instance: str
):
    """But for one whose author gave it addresses."""
    own = {"ipam": {"config": [{"subnet": "10.214.77.0/28"}]}}
    services = {
        "web": serves(networks=["front", "back"]),
        "db": sleeps(networks={"own": {"ipv4_address": "10.214.77.5"}}),
    }
    rig = make(services, UsedUpCompose, networks={"front": None, "back": {"internal": True}, "own": own})
    await rig.built()
    await rig.stacks.prepare(rig.tool)
    assert await rig.stacks.start(rig.tool) is True
    networks = sdk.networks(filters={"label": f"io.machete.instance={instance}"})
    subnets = {each["Name"].rpartition("_")[2]: each["IPAM"]["Config"][0]["Subnet"] for each in networks}
    assert subnets["own"] == "10.214.77.0/28"
    assert subnets["front"] != subnets["back"]
    assert all(subnets[name].startswith("10.213.") for name in ("front", "back"))
    await rig.containers.remove(TOOL, data=True)
    # And again, where all of it has to be made anew from what was kept.
    assert await rig.stacks.start(rig.tool) is True


async def test_a_stack_cut_off_before_it_had_networks_gets_them_when_it_is_started(
    make: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
):
    rig = make({"db": sleeps()}, UsedUpCompose)
    await rig.built()
    with monkeypatch.context() as patched:
        patched.setattr(UsedUpCompose, "cut_off", True)
        with pytest.raises(asyncio.CancelledError):
            await rig.stacks.prepare(rig.tool)
    assert await rig.stacks.start(rig.tool) is True


class NoneLeftCompose(UsedUpCompose):
    """Whatever addresses are asked for, another network has them."""

    async def create(self, project: Project, alive: Callable[[], bool] = always) -> None:
        if "subnet" not in project.file.read_text():
            await super().create(project, alive)
        message = "The stack could not be made ready: Pool overlaps with other one on this address space."
        raise EngineError("compose_failed", message)


async def test_when_our_pool_is_used_up_too_that_is_told_with_a_way_out(make: Callable[..., Rig]):
    rig = make({"db": sleeps()}, NoneLeftCompose)
    await rig.built()
    with pytest.raises(EngineError, match=f"and {POOL} none either: uninstall a tool") as told:
        await rig.stacks.prepare(rig.tool)
    assert told.value.code == "no_addresses"
    detail = told.value.problem.detail
    assert detail is not None
    assert "Pool overlaps" in detail["engine"]
    assert detail["networks"] >= 3, "those that every engine has"


async def test_a_service_taken_out_of_a_network_by_force_is_made_again_in_it_and_the_others_stay(
    make: Callable[..., Rig], sdk: docker.APIClient, instance: str
):
    """Of several networks, too, and what shares its network with it."""
    services = {
        "web": serves(networks=["front", "back"]),
        "beside": sleeps(network_mode="service:web"),
        "db": sleeps(networks=["back"]),
        "other": sleeps(networks=["front"]),
    }
    rig = make(services, networks={"front": None, "back": None})
    await rig.built()
    await rig.stacks.start(rig.tool)
    before = await rig.services()
    assert not any(each.cut_off for each in before.values())
    for service, network in (("web", "front"), ("db", "back")):
        at = f"machete-{instance}-{TOOL}"
        sdk.disconnect_container_from_network(f"{at}-{service}-1", f"{at}_{network}", force=True)
    out = await rig.services()
    listed = (await rig.containers.observe_all())[TOOL].services
    for found in (out, {each.name: each for each in listed}):
        assert [name for name, each in found.items() if each.cut_off] == ["db", "web"]
    assert await rig.stacks.start(rig.tool)
    after = await rig.services()
    assert not any(each.cut_off for each in after.values())
    assert after["other"].container_id == before["other"].container_id
    assert not {after[name].container_id for name in ("web", "db", "beside")} & {
        e.container_id for e in before.values()
    }
    assert not await rig.stacks.start(rig.tool), "nothing is left to do"


async def test_a_service_that_failed_and_was_started_again_before_anybody_looked_is_the_one_to_blame(
    make: Callable[..., Rig], sdk: docker.APIClient, engine: Engine, instance: str
):
    """Compose may have given up by then, because another service waited for this one."""
    fails_once = "[ -e /once ] || { : > /once; echo this is why; exit 4; }; sleep 1000"
    rig = make({"db": {"image": IMAGE, "command": ["sh", "-c", fails_once], "init": True}})
    await rig.built()
    await rig.stacks.prepare(rig.tool)
    watch = StackWatch(engine, instance, TOOL)
    before = await watch.runs()
    sdk.start(f"machete-{instance}-{TOOL}-db-1")
    async with asyncio.timeout(30):
        while (now := (await rig.services())["db"]).restarts == 0 or now.state != "running":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    with pytest.raises(ToolExited, match="db ended with exit code 4") as told:
        await watch.check(before)
    assert "this is why" in (told.value.problem.detail or {})["log"]
    since = await watch.runs()
    await watch.check(since)
    assert since == await watch.runs(), "nothing has ended since, so nothing was said"


async def test_a_stack_without_replicas_of_a_service_runs_without_it(make: Callable[..., Rig]):
    """Neither its image nor its build has to be there."""
    rig = make({"db": sleeps(), "tests": {"image": "machete-nowhere.invalid/none:1", "scale": 0}})
    await rig.built()
    await rig.stacks.prepare(rig.tool)
    await rig.stacks.start(rig.tool)
    assert list(await rig.services()) == ["db"]
    assert [service.name for service in rig.tool.release.services] == ["db"]


async def test_volumes_of_another_service_are_seen(make: Callable[..., Rig], sdk: docker.APIClient, instance: str):
    rig = make({"db": sleeps(volumes=["kept:/kept"]), "backup": sleeps(volumes_from=["db"])}, volumes={"kept": None})
    await rig.built()
    await rig.stacks.prepare(rig.tool)
    await rig.stacks.start(rig.tool)
    mounts = sdk.inspect_container(f"machete-{instance}-{TOOL}-backup-1")["Mounts"]
    assert [mount["Destination"] for mount in mounts] == ["/kept"]
