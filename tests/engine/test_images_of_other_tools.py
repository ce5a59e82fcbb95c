"""What one tool's images hold reaches no other tool: neither by a build, nor by a name, nor by what they say of
themselves."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from libs.contracts.problems import Failure
from libs.runtime.children import Children
from services.orchestrator.adapters.compose import Compose
from services.orchestrator.adapters.containers import DockerContainers
from services.orchestrator.adapters.engine import Engine
from services.orchestrator.adapters.stacks import DockerStacks
from services.orchestrator.domain.specs import BuildSpec
from tests.engine.conftest import an_instance
from tests.engine.test_stacks_on_docker import POOL, TOOL, Shelf, a_tool, sleeps
from tests.engine.test_stacks_on_docker import Rig as StackRig
from tests.orchestrator.behaviours import IMAGE, SLEEPS
from tests.orchestrator.engine_promises import OTHER, WEB, Rig, ignore

KEPT = "/kept-by-its-tool"
HUB = "docker.io"  # the host that the engine puts in front of a name without one


@pytest.fixture(scope="module")
def shared(sdk: docker.APIClient) -> Iterator[str]:
    """One instance for all tests here that only try to reach what is there."""
    with an_instance(sdk) as name:
        yield name


@pytest.fixture(scope="module")
def theirs(sdk: docker.APIClient, shared: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of another tool of this platform."""
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo {shared} > {KEPT}\n")
    labels = {"io.machete.instance": shared, "io.machete.tool": OTHER, "io.machete.release": "r9r9r9r9r9r9"}
    reference = f"machete/{shared}/{OTHER}:r9r9r9r9r9r9"
    assert list(sdk.build(path=str(folder), tag=reference, labels=labels, decode=True, rm=True, forcerm=True))
    assert labels.items() <= sdk.inspect_image(reference)["Config"]["Labels"].items()
    return reference


@pytest.fixture
def mine(rig: Rig, shared: str) -> Rig:
    return replace(rig, instance=shared)


def written(rig: Rig, dockerfile: str) -> BuildSpec:
    spec = rig.source()
    (spec.source / "Dockerfile").write_text(dockerfile)
    return spec


REACHES = {
    "as its base": "FROM {}\n",
    "by the long form of its name": f"FROM {HUB}/{{}}\n",
    "by the older long form": f"FROM index.{HUB}/{{}}\n",
    "in parts": "ARG A=mach\nARG B=${{A}}ete\nFROM ${{B}}/{rest}\n",
    "by a default that nothing was given for": "ARG NOTHING\nFROM ${{NOTHING:-{}}}\n",
    "by what stands in another argument's place": "ARG A=x-{}\nFROM ${{A#x-}}\n",
    "over two lines": "FROM mach\\\nete/{rest}\n",
    "with another sign that a line goes on": "# escape=`\nFROM mach`\nete/{rest}\n",
    "in another stage": "FROM {} AS there\nFROM scratch\nCOPY --from=there / /\n",
    "by a copy": f"FROM {IMAGE}\nCOPY --from={{}} {KEPT} /\n",
    "after text like a Dockerfile's": f"FROM {IMAGE}\nCOPY <<A /x\nFROM scratch\nA\nCOPY --from={{}} {KEPT} /\n",
    "by a mount": f"FROM {IMAGE}\nRUN --mount=from={{}},target=/there cat /there{KEPT}\n",
    "by a mount that is said in another order": f"FROM {IMAGE}\nRUN --mount=target=/there,type=bind,from={{}} true\n",
}


@pytest.mark.parametrize("how", REACHES)
async def test_no_build_reads_the_image_of_another_tool(mine: Rig, theirs: str, how: str):
    dockerfile = REACHES[how].format(theirs, rest=theirs.removeprefix("machete/"))
    with pytest.raises(Failure) as refused:
        await mine.builder.build(written(mine, dockerfile), ignore)
    assert refused.value.code == "policy_refused"
    assert refused.value.message == (
        f"The build reads the image {theirs}, which MACHETE built for another tool: build on a public image, or on one "
        "of the tool's own."
    )


async def test_no_program_of_another_tool_reads_a_dockerfile(mine: Rig, theirs: str):
    with pytest.raises(Failure, match=r"^The tool's Dockerfile: Dockerfile: found syntax=.*docker/dockerfile:1\.$"):
        await mine.builder.build(written(mine, f"# syntax={theirs}\nFROM {IMAGE}\n"), ignore)


async def test_an_image_of_the_tool_s_own_may_be_built_upon(rig: Rig):
    first = await rig.builder.build(rig.source(f"RUN echo {rig.instance} > /mine"), ignore)
    again = rig.source(release="r2r2r2r2r2r2")
    (again.source / "Dockerfile").write_text(f"FROM {first.reference}\nRUN grep {rig.instance} /mine\n")
    assert (await rig.builder.build(again, ignore)).id != first.id


async def test_a_build_leaves_nothing_of_what_it_was_held_to(rig: Rig):
    await rig.builder.build(rig.source("RUN true"), ignore)
    assert list(rig.folder.rglob("sources.json")) == []


@pytest.fixture
def stack(engine: Engine, shared: str, tmp_path: Path) -> Callable[..., StackRig]:
    def make(services: dict[str, Any], files: dict[str, str] | None = None, instance: str = shared) -> StackRig:
        tools = tmp_path / "tools"
        compose = Compose(engine, Children(), tmp_path / "compose")
        shelf = Shelf(tools, {"compose.yaml": json.dumps({"services": services}), **(files or {})})
        stacks = DockerStacks(engine, instance, tools, compose, shelf, {}, POOL)
        return StackRig(stacks, DockerContainers(engine, instance, tools), a_tool())

    return make


STACKS: dict[str, dict[str, Any]] = {
    "by the Dockerfile of one": {"build": "./app"},
    "by a Dockerfile that is written in the Compose file": {"build": {"dockerfile_inline": "FROM {}\n"}},
    "by an argument": {"build": {"context": "./given", "args": {"BASE": "{}"}}},
    "by a context that has another name": {
        "build": {"dockerfile_inline": "FROM base\n", "additional_contexts": {"base": "docker-image://{}"}}
    },
    "by a context in the place of a public image": {
        "build": {
            "dockerfile_inline": "FROM alpine:3\n",
            "additional_contexts": {"alpine:3": f"docker-image://{HUB}/{{}}"},
        }
    },
}


@pytest.mark.parametrize("how", STACKS)
async def test_no_build_of_a_stack_reads_the_image_of_another_tool(
    stack: Callable[..., StackRig], theirs: str, how: str
):
    files = {"app/Dockerfile": f"FROM {theirs}\n", "given/Dockerfile": "ARG BASE=scratch\nFROM $BASE\n"}
    service = json.loads(json.dumps(STACKS[how]).replace("{}", theirs))
    with pytest.raises(Failure, match=f"reads the image {theirs}, which MACHETE built for another tool") as refused:
        await stack({"web": service}, files).built()
    assert refused.value.code == "policy_refused"


@pytest.mark.parametrize("file", ["Dockerfile", "dockerfile"])
async def test_no_other_program_reads_the_dockerfile_of_a_stack(stack: Callable[..., StackRig], file: str):
    files = {f"app/{file}": "# syntax=me/mine\nFROM scratch\n"}
    with pytest.raises(Failure, match=rf"^services\.web\.build: {file}: found syntax='me/mine'; ") as refused:
        await stack({"web": {"build": "./app"}}, files).built()
    assert refused.value.code == "policy_refused"


async def test_a_name_that_is_the_beginning_of_an_image_s_id_is_a_name(
    stack: Callable[..., StackRig], sdk: docker.APIClient, theirs: str
):
    """The engine itself would take it for the image."""
    beginning = sdk.inspect_image(theirs)["Id"].removeprefix("sha256:")[:11]
    assert sdk.inspect_image(beginning)["RepoTags"] == [theirs]
    with pytest.raises(Failure) as refused:
        await stack({"web": sleeps(image=beginning)}).built()
    assert refused.value.code == "image_not_pulled"


async def test_the_image_of_another_tool_is_known_by_whatever_name_somebody_gave_it(
    stack: Callable[..., StackRig], sdk: docker.APIClient, theirs: str, shared: str
):
    sdk.tag(theirs, f"somebodys-{shared}", "1")
    try:
        rig = stack({"web": sleeps(image=f"somebodys-{shared}:1")})
        await rig.built()
        with pytest.raises(Failure, match=r"^services\.web\.image is an image that MACHETE built") as refused:
            await rig.stacks.prepare(rig.tool)
        assert refused.value.code == "policy_refused"
        assert await rig.services() == {}
    finally:
        sdk.remove_image(f"somebodys-{shared}:1")


SAYS = {
    "io.machete.service": "db",
    "io.machete.job": "yes",
    "io.machete.retries": "yes",
    "io.machete.port": "1",
    "io.machete.ports": "1,2",
    "io.machete.spec": "0123456789abcdef",
    "com.docker.compose.project": "victim",
    "com.docker.compose.service": "db",
    "com.docker.compose.container-number": "7",
    "com.docker.compose.depends_on": "app:service_started:true",
    "com.docker.compose.oneoff": "False",
    "com.docker.compose.config-hash": "0",
}


def _passing_for(instance: str) -> str:
    said = {"io.machete.instance": instance, "io.machete.tool": OTHER, **SAYS}
    said["com.docker.compose.project"] = f"machete-{instance}-{OTHER}"
    return "LABEL " + " ".join(f'{name}="{value}"' for name, value in said.items())


async def test_what_an_image_says_of_itself_makes_its_container_nobody_else_s(rig: Rig, sdk: docker.APIClient):
    image = (await rig.builder.build(rig.source(_passing_for(rig.instance)), ignore)).reference
    assert sdk.inspect_image(image)["Config"]["Labels"]["com.docker.compose.service"] == "db", "the image does say it"
    placed = await rig.containers.start(rig.spec(image=image, port=None, command=SLEEPS))
    (service,) = (await rig.containers.observe(WEB)).services
    assert (service.name, service.state, service.job, service.host_port) == ("app", "running", False, None)
    assert (await rig.containers.observe(OTHER)).services == ()
    project = {"label": f"com.docker.compose.project=machete-{rig.instance}-{OTHER}"}
    assert sdk.containers(all=True, filters=project) == [], "Compose itself does not take it for the other stack's"
    again = await rig.containers.start(rig.spec(image=image, port=None, command=SLEEPS))
    assert (again.container_id, again.created) == (placed.container_id, False)
    await rig.containers.remove(OTHER, data=True)
    assert (await rig.containers.observe(WEB)).services[0].state == "running"


async def test_what_an_image_says_of_itself_makes_no_service_of_a_stack_another_one(
    stack: Callable[..., StackRig], sdk: docker.APIClient, instance: str
):
    inline = f"FROM {IMAGE}\n{_passing_for(instance)}\n"
    rig = stack({"web": {**sleeps(), "image": "own:1", "build": {"dockerfile_inline": inline}}}, instance=instance)
    await rig.built()
    await rig.stacks.start(rig.tool)
    (found,) = sdk.containers(all=True, filters={"label": f"io.machete.instance={instance}"})
    labels = found["Labels"]
    assert {name: labels[name] for name in ("io.machete.tool", "io.machete.service")} == {
        "io.machete.tool": TOOL,
        "io.machete.service": "web",
    }
    assert [labels[f"io.machete.{name}"] for name in ("job", "retries", "port", "ports")] == ["", "", "", ""]
    assert labels["com.docker.compose.project"] == f"machete-{instance}-{TOOL}"
    assert labels["com.docker.compose.service"] == "web"
    assert labels["com.docker.compose.container-number"] == "1"
    (service,) = (await rig.services()).values()
    assert (service.name, service.state, service.job) == ("web", "running", False)


ODD = ("/data/../../x", "/x//y/", "/a:/etc:ro", "/a,type=bind,source=/etc")


async def test_volumes_that_an_image_declares_oddly_are_the_tool_s_own(rig: Rig, sdk: docker.APIClient):
    image = (await rig.builder.build(rig.source(f"VOLUME {json.dumps(ODD)}"), ignore)).reference
    assert set(sdk.inspect_image(image)["Config"]["Volumes"]) == set(ODD), "the image does say so"
    placed = await rig.containers.start(rig.spec(image=image, port=None, command=SLEEPS))
    mounts = sdk.inspect_container(placed.container_id)["Mounts"]
    assert {mount["Destination"] for mount in mounts} == {"/x", "/x/y", "/a:/etc:ro", "/a,type=bind,source=/etc"}
    for mount in mounts:
        assert mount["Type"] == "volume"
        assert mount["Name"].startswith(f"machete-{rig.instance}-{WEB}_image-")


async def test_volumes_that_an_image_of_a_stack_declares_oddly_are_the_tool_s_own(
    stack: Callable[..., StackRig], sdk: docker.APIClient, instance: str
):
    inline = f"FROM {IMAGE}\nVOLUME {json.dumps(ODD)}\n"
    rig = stack({"web": {**sleeps(), "image": "own:1", "build": {"dockerfile_inline": inline}}}, instance=instance)
    await rig.built()
    await rig.stacks.start(rig.tool)
    (found,) = sdk.containers(all=True, filters={"label": f"io.machete.instance={instance}"})
    mounts = sdk.inspect_container(found["Id"])["Mounts"]
    assert {mount["Destination"] for mount in mounts} == {"/x", "/x/y", "/a:/etc:ro", "/a,type=bind,source=/etc"}
    assert all(mount["Name"].startswith(f"machete-{instance}-{TOOL}_image-") for mount in mounts)


@pytest.mark.parametrize("target", ["/", "/x/../..", "relative"])
async def test_a_volume_that_is_no_folder_in_a_container_makes_no_container(rig: Rig, target: str):
    image = (await rig.builder.build(rig.source(f"VOLUME {json.dumps([target])}"), ignore)).reference
    with pytest.raises(Failure, match="write an absolute path below /") as refused:
        await rig.containers.start(rig.spec(image=image, port=None, command=SLEEPS))
    assert refused.value.code == "mount_refused"
    assert (await rig.containers.observe(WEB)).services == ()
