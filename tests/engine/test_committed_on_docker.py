"""What somebody made of a tool's container with `docker commit` carries its labels, and is his: not seen, and stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager

import docker
import pytest

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


async def test_nothing_is_said_of_a_container_of_a_committed_image(rig: Rig, sdk: docker.APIClient) -> None:
    _, own = await ours(rig)
    begin = time.time_ns()
    with committed(sdk, own, rig.instance) as (theirs, _):
        sdk.kill(theirs)
        sdk.kill(own)
        async with asyncio.timeout(20), aclosing(rig.feed.events(begin)) as events:
            heard = [event.container_id async for event in until_death(events, own)]
    assert set(heard) == {own}


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
