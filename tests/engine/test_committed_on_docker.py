"""Whose a container is that carries a tool's labels, and has another name.

What somebody made of a tool's container with `docker commit` is his: not seen, and stays. One that was renamed is ours,
but for one that stands beside the container whose labels it has: that is somebody's copy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace

import docker
import pytest

from libs.runtime.children import OwnerGone
from services.orchestrator.adapters import listing
from services.orchestrator.adapters.engine import Engine
from services.orchestrator.adapters.host_ports import HostPorts
from services.orchestrator.domain.engine_events import EngineEvent
from services.orchestrator.domain.failures import EngineError
from services.orchestrator.domain.specs import ContainerSpec
from tests.engine import test_stacks_on_docker as stacks
from tests.orchestrator.behaviours import SLEEPS
from tests.orchestrator.engine_promises import WEB, Rig, ignore

make = stacks.make


@contextmanager
def committed(sdk: docker.APIClient, container: str, instance: str) -> Iterator[tuple[str, str]]:
    """A running container of somebody's, and his image that it is made from."""
    image = f"backup-{instance}:1"
    sdk.commit(container, repository=f"backup-{instance}", tag="1")
    made = sdk.create_container(image, list(SLEEPS), name=f"backup-{instance}")["Id"]
    try:
        sdk.start(made)
        yield made, image
    finally:
        sdk.remove_container(made, force=True)
        sdk.remove_image(image, force=True)


@contextmanager
def duplicated(sdk: docker.APIClient, container: str, instance: str) -> Iterator[str]:
    """A running container of somebody's, with the image and all labels of that one."""
    config = sdk.inspect_container(container)["Config"]
    name = f"copy-{instance}"
    made = sdk.create_container(config["Image"], list(SLEEPS), name=name, labels=config["Labels"])["Id"]
    try:
        sdk.start(made)
        yield made
    finally:
        sdk.remove_container(made, force=True)


def runs(sdk: docker.APIClient, container: str) -> bool:
    return sdk.inspect_container(container)["State"]["Running"]


async def ours(rig: Rig) -> tuple[ContainerSpec, str]:
    built = await rig.builder.build(rig.source(), ignore)
    spec = rig.spec(image=built.reference, command=SLEEPS)
    return spec, (await rig.containers.start(spec)).container_id


async def test_a_container_of_a_committed_image_is_not_seen_and_stays(rig: Rig, sdk: docker.APIClient) -> None:
    spec, own = await ours(rig)
    with committed(sdk, own, rig.instance) as (theirs, image):
        assert [each.container_id for each in (await rig.containers.observe(WEB)).services] == [own]
        assert [each.container_id for each in (await rig.containers.observe_all())[WEB].services] == [own]
        await rig.containers.stop(WEB)
        assert runs(sdk, theirs)
        again = await rig.containers.start(spec)
        assert (again.container_id, again.created) == (own, False)
        removed = await rig.containers.remove(WEB, data=True)
        assert removed.containers == (spec.name,)
        assert removed.left == ()
        assert await rig.containers.owning() == set()
        assert runs(sdk, theirs)
        assert sdk.images(name=image)


async def test_a_container_of_a_committed_image_takes_no_place_and_no_port(rig: Rig, sdk: docker.APIClient) -> None:
    first = await rig.containers.start(rig.spec())
    with committed(sdk, first.container_id, rig.instance) as (theirs, _):
        sdk.remove_container(first.container_id, force=True)
        assert await rig.containers.observe_all() == {}
        second = await rig.containers.start(rig.spec(host_port=first.host_port))
        assert (second.created, second.host_port) == (True, first.host_port)
        assert runs(sdk, theirs)


async def test_what_happens_to_a_container_of_a_committed_image_is_not_taken_for_the_tool_s(
    rig: Rig, sdk: docker.APIClient
) -> None:
    _, own = await ours(rig)
    begin = time.time_ns()
    with committed(sdk, own, rig.instance) as (theirs, _):
        sdk.kill(theirs)
        sdk.kill(own)
        async with asyncio.timeout(20), aclosing(rig.feed.events(begin)) as events:
            heard = {(event.container_id, event.doubtful) async for event in until_death(events, own)}
    assert heard == {(own, False), (theirs, True)}, "an event does not tell whether somebody renamed it"


async def until_death(events: AsyncGenerator[EngineEvent], container: str) -> AsyncGenerator[EngineEvent]:
    async for event in events:
        yield event
        if (event.container_id, event.action) == (container, "die"):
            return


async def test_an_image_without_a_name_that_somebody_committed_stays(rig: Rig, sdk: docker.APIClient) -> None:
    """One of a tool's container, and one of a container that he ran from a tool's image."""
    spec, own = await ours(rig)
    by_hand = sdk.create_container(spec.image, list(SLEEPS))["Id"]
    try:
        images = [sdk.commit(each)["Id"] for each in (own, by_hand)]
    finally:
        sdk.remove_container(by_hand, force=True)
    try:
        removed = await rig.containers.remove(WEB, data=True)
        assert not set(images) & set(removed.images)
        assert all(sdk.inspect_image(image) for image in images)
    finally:
        for image in images:
            sdk.remove_image(image, force=True)
    assert (await rig.containers.remove(WEB)).left == ()
    assert await rig.hand.images(f"machete/{rig.instance}/") == []


async def test_a_container_of_a_stacks_committed_image_is_not_seen_and_stays(
    make: Callable[..., stacks.Rig], sdk: docker.APIClient
) -> None:
    """Compose would take it for one of the stack's, and one of the two too many."""
    rig = make({"web": stacks.serves(build="."), "db.1": stacks.sleeps()})
    await rig.built()
    await rig.stacks.start(rig.tool)
    before = {name: each.container_id for name, each in (await rig.services()).items()}
    with committed(sdk, before["web"], rig.stacks.instance) as (theirs, image):
        assert {name: each.container_id for name, each in (await rig.services()).items()} == before
        with pytest.raises(EngineError, match=f"backup-{rig.stacks.instance} carries the labels of this stack"):
            await rig.stacks.start(rig.tool)
        await rig.containers.stop(stacks.TOOL)
        assert runs(sdk, theirs)
        removed = await rig.containers.remove(stacks.TOOL, data=True)
        assert len(removed.containers) == 2
        assert runs(sdk, theirs)
        assert sdk.images(name=image)


async def test_a_container_that_was_renamed_is_still_the_tool_s_and_goes_with_it(
    rig: Rig, sdk: docker.APIClient, engine: Engine
) -> None:
    """Beside one of a committed image, whose labels are the same."""
    spec, own = await ours(rig)
    sdk.rename(own, f"mine-{rig.instance}")
    with committed(sdk, own, rig.instance) as (theirs, _):
        for seen in (await rig.containers.observe(WEB), (await rig.containers.observe_all())[WEB]):
            assert [each.container_id for each in seen.services] == [own]
        (port,) = [each.host_port for each in seen.services]
        assert port is not None
        taken = await HostPorts(engine, rig.instance).taken(WEB, port)
        assert taken.detail is not None
        assert taken.detail["holder"] is None, "it is no other's"
        await rig.containers.stop(WEB, timeout=0)
        assert not runs(sdk, own)
        again = await rig.containers.start(spec)
        assert (again.container_id, again.created, again.host_port) == (own, False, port)
        changed = await rig.containers.start(replace(spec, environment={"A": "1"}))
        assert (changed.created, changed.host_port) == (True, port)
        sdk.rename(changed.container_id, f"mine-{rig.instance}")
        removed = await rig.containers.remove(WEB, data=True)
        assert (removed.containers, removed.left) == ((f"mine-{rig.instance}",), ())
        assert len(removed.networks) == 1
        assert await rig.containers.owning() == set()
        assert sdk.containers(all=True, filters={"name": f"mine-{rig.instance}"}) == []
        assert runs(sdk, theirs)


async def test_a_container_of_a_stack_that_was_renamed_is_still_the_stack_s_and_goes_with_it(
    make: Callable[..., stacks.Rig], sdk: docker.APIClient, engine: Engine
) -> None:
    port = await HostPorts(engine, "").free(stacks.TOOL)
    rig = make({"web": stacks.serves(ports=[f"{port}:8080"]), "db": stacks.sleeps()})
    await rig.built()
    await rig.stacks.start(rig.tool)
    before = {name: each.container_id for name, each in (await rig.services()).items()}
    sdk.rename(before["web"], f"mine-{rig.stacks.instance}")
    assert {name: each.container_id for name, each in (await rig.services()).items()} == before
    await rig.built()  # which looks whether the port that it insists on is to be had
    assert not await rig.stacks.start(rig.tool)
    await rig.containers.stop(stacks.TOOL)
    assert not runs(sdk, before["web"])
    await rig.stacks.start(rig.tool)
    assert sorted(await rig.services()) == ["db", "web"]
    removed = await rig.containers.remove(stacks.TOOL, data=True)
    assert (len(removed.containers), removed.left) == (2, ())
    assert await rig.containers.owning() == set()
    assert sdk.containers(all=True, filters={"name": f"mine-{rig.stacks.instance}"}) == []


async def test_a_folder_is_given_to_the_user_of_a_service_whose_container_was_renamed(
    make: Callable[..., stacks.Rig], sdk: docker.APIClient
) -> None:
    rig = make({"db": stacks.sleeps(user="1234:1234", volumes=["./kept:/kept"])})
    await rig.built()
    await rig.stacks.prepare(rig.tool)
    (own,) = (await rig.services()).values()
    sdk.rename(own.container_id, f"mine-{rig.stacks.instance}")
    (kept,) = (rig.stacks.tools / stacks.TOOL / "data").iterdir()
    kept.rmdir()
    await rig.stacks.start(rig.tool)
    (kept,) = (rig.stacks.tools / stacks.TOOL / "data").iterdir()
    assert kept.stat().st_uid == 1234


async def test_what_is_cut_off_runs_on_where_its_stack_cannot_be_started(
    make: Callable[..., stacks.Rig], sdk: docker.APIClient
) -> None:
    rig = make({"web": stacks.serves(), "db": stacks.sleeps()})
    await rig.built()
    await rig.stacks.start(rig.tool)
    own = (await rig.services())["db"].container_id
    network = f"machete-{rig.stacks.instance}-{stacks.TOOL}_default"
    sdk.disconnect_container_from_network(own, network, force=True)
    with committed(sdk, own, rig.stacks.instance):
        with pytest.raises(EngineError, match="carries the labels of this stack"):
            await rig.stacks.start(rig.tool)
        assert runs(sdk, own)
    with pytest.raises(OwnerGone):
        await rig.stacks.start(rig.tool, lambda: False)
    assert runs(sdk, own)
    assert await rig.stacks.start(rig.tool)
    assert (await rig.services())["db"].container_id != own


async def test_a_container_that_compose_ran_aside_keeps_nothing_from_starting(
    make: Callable[..., stacks.Rig], sdk: docker.APIClient
) -> None:
    rig = make({"db": stacks.sleeps()})
    await rig.built()
    await rig.stacks.start(rig.tool)
    (own,) = (await rig.services()).values()
    labels = {**sdk.inspect_container(own.container_id)["Config"]["Labels"], "com.docker.compose.oneoff": "True"}
    name = f"machete-{rig.stacks.instance}-{stacks.TOOL}-db-run-1234"
    aside = sdk.create_container(stacks.IMAGE, list(SLEEPS), name=name, labels=labels)["Id"]
    try:
        assert not await rig.stacks.start(rig.tool)
        assert [each.container_id for each in (await rig.services()).values()] == [own.container_id]
    finally:
        sdk.remove_container(aside, force=True)


async def test_a_duplicate_of_a_container_is_somebody_s_and_stays(
    rig: Rig, sdk: docker.APIClient, engine: Engine
) -> None:
    spec, own = await ours(rig)
    with duplicated(sdk, own, rig.instance) as theirs:
        for seen in (await rig.containers.observe(WEB), (await rig.containers.observe_all())[WEB]):
            assert [each.container_id for each in seen.services] == [own]
        (port,) = [each.host_port for each in seen.services]
        assert port is not None
        await rig.containers.stop(WEB, timeout=0)
        assert (runs(sdk, own), runs(sdk, theirs)) == (False, True)
        assert (await rig.containers.prepare(spec)).container_id == own
        again = await rig.containers.start(spec)
        assert (again.container_id, again.created) == (own, False)
        taken = await HostPorts(engine, rig.instance).taken(WEB, port)
        assert taken.detail is not None
        assert taken.detail["holder"] is None
        changed = await rig.containers.start(replace(spec, environment={"A": "1"}))
        assert (changed.created, changed.host_port) == (True, port)
        assert runs(sdk, theirs)
        removed = await rig.containers.remove(WEB, data=True)
        assert removed.containers == (spec.name,)
        assert runs(sdk, theirs)


async def test_a_duplicate_stays_somebody_s_when_the_container_that_it_is_of_has_gone(
    rig: Rig, sdk: docker.APIClient
) -> None:
    first = await rig.containers.start(rig.spec(command=SLEEPS))
    with duplicated(sdk, first.container_id, rig.instance) as theirs:
        await rig.containers.observe_all()
        sdk.remove_container(first.container_id, force=True)
        assert await rig.containers.observe_all() == {}
        assert (await rig.containers.observe(WEB)).services == ()
        second = await rig.containers.start(rig.spec(command=SLEEPS))
        assert (second.created, runs(sdk, theirs)) == (True, True)


async def test_what_another_life_left_of_a_removed_tool_is_cleared_and_a_duplicate_stays(
    rig: Rig, sdk: docker.APIClient
) -> None:
    """It knows nothing of the container that stood beside it."""
    placed = await rig.containers.start(rig.spec(command=SLEEPS))
    with duplicated(sdk, placed.container_id, rig.instance) as theirs:
        assert await rig.containers.owning() == {WEB}
        removed = await rig.containers.remove(WEB, renamed=False)
        assert removed.containers == (rig.spec().name,)
        listing._copies.clear()
        assert await rig.containers.owning() == set()
        await rig.containers.remove(WEB, renamed=False)
        assert runs(sdk, theirs)


async def test_a_duplicate_of_a_container_of_a_stack_is_somebody_s_and_stays(
    make: Callable[..., stacks.Rig], sdk: docker.APIClient
) -> None:
    """Of each service and number by itself: that another one of the service has its name says nothing."""
    rig = make({"web": stacks.sleeps(scale=2), "db": stacks.sleeps()})
    await rig.built()
    await rig.stacks.start(rig.tool)
    before = {name: each.container_id for name, each in (await rig.services()).items()}
    assert sorted(before) == ["db", "web", "web-2"]
    sdk.rename(before["web-2"], f"mine-{rig.stacks.instance}")
    with duplicated(sdk, before["web"], rig.stacks.instance) as theirs:
        assert {name: each.container_id for name, each in (await rig.services()).items()} == before
        with pytest.raises(EngineError, match=f"copy-{rig.stacks.instance} carries the labels of this stack"):
            await rig.stacks.start(rig.tool)
        await rig.containers.stop(stacks.TOOL)
        assert not any(runs(sdk, each) for each in before.values())
        assert runs(sdk, theirs)
        assert len((await rig.containers.remove(stacks.TOOL, data=True)).containers) == 3
        assert runs(sdk, theirs)
