"""Removal leaves nothing of a tool, and takes nothing of anyone else's."""

import asyncio
import threading

import docker

from services.orchestrator.domain.specs import VolumeMount
from tests.engine.test_containers_on_docker import a_foreign_container
from tests.orchestrator.behaviours import SERVES, SLEEPS
from tests.orchestrator.engine_promises import WEB, Rig, ignore


async def test_a_container_somebody_runs_from_our_image_stays_and_is_not_seen(rig: Rig, sdk: docker.APIClient):
    """It inherits the image's labels, but it is theirs."""
    image = (await rig.builder.build(rig.source(), ignore)).reference
    made = sdk.create_container(image, list(SLEEPS), name=f"foreign-{rig.instance}")
    try:
        sdk.start(made["Id"])
        assert await rig.containers.observe_all() == {}
        removed = await rig.containers.remove(WEB, data=True)
        assert (removed.containers, removed.left) == ((), (image,))
        assert sdk.inspect_container(made["Id"])["State"]["Running"]
    finally:
        sdk.remove_container(made["Id"], force=True)
    assert (await rig.containers.remove(WEB)).images == (image,)


async def test_an_image_somebody_made_from_ours_stays(rig: Rig, sdk: docker.APIClient):
    image = (await rig.builder.build(rig.source(), ignore)).reference
    theirs = f"foreign-{rig.instance}:latest"
    sdk.tag(image, f"foreign-{rig.instance}", "latest")
    try:
        assert (await rig.containers.remove(WEB)).images == (image,)
        assert await rig.hand.images(f"foreign-{rig.instance}") == [theirs]
    finally:
        sdk.remove_image(theirs)


async def test_what_a_foreign_container_uses_stays_until_it_is_free(rig: Rig, sdk: docker.APIClient):
    await rig.containers.prepare(rig.spec(volumes=(VolumeMount("db", "/db"),)))
    (volume,) = await rig.hand.volumes(rig.instance)
    (network,) = await rig.hand.networks(rig.instance)
    with a_foreign_container(sdk, rig.instance, binds=[f"{volume}:/db"], network_mode=network) as foreign:
        sdk.start(foreign)
        removed = await rig.containers.remove(WEB, data=True)
        assert set(removed.left) == {volume, network}
        assert sdk.inspect_container(foreign)["State"]["Running"]
    removed = await rig.containers.remove(WEB, data=True)
    assert (removed.networks, removed.volumes, removed.left) == ((network,), (volume,), ())


async def test_images_of_all_releases_and_of_repeated_builds_go(rig: Rig, sdk: docker.APIClient):
    await rig.builder.build(rig.source("RUN echo 1 > /n"), ignore)
    other = await rig.builder.build(rig.source("RUN echo 2 > /n", release="r2r2r2r2r2r2"), ignore)
    sdk.tag(other.id, f"machete/{rig.instance}/{WEB}", "r1r1r1r1r1r1", force=True)  # the first has no tag now
    removed = await rig.containers.remove(WEB)
    assert len(removed.images) == 3
    assert sdk.images(filters={"label": f"io.machete.instance={rig.instance}"}) == []


async def test_a_removal_that_somebody_else_began_is_waited_for(rig: Rig, sdk: docker.APIClient):
    placed = await rig.containers.start(rig.spec())
    theirs = threading.Thread(target=sdk.remove_container, args=(placed.container_id,), kwargs={"force": True})
    theirs.start()
    await asyncio.sleep(0.02)
    await rig.containers.remove(WEB)
    assert await rig.containers.observe_all() == {}
    assert await rig.hand.networks(rig.instance) == []
    await asyncio.to_thread(theirs.join)


async def test_two_removals_at_once_both_succeed(rig: Rig):
    built = await rig.builder.build(rig.source(), ignore)
    await rig.containers.start(rig.spec(image=built.reference, command=SERVES, volumes=(VolumeMount("v", "/v"),)))
    await asyncio.gather(*(rig.containers.remove(WEB, data=True) for _ in range(3)))
    assert await rig.containers.observe_all() == {}
    assert await rig.hand.volumes(rig.instance) == []
    assert await rig.hand.images(f"machete/{rig.instance}/") == []


async def test_a_removal_while_the_tool_starts_can_be_finished(rig: Rig):
    starting = asyncio.ensure_future(rig.containers.start(rig.spec()))
    await asyncio.sleep(0.05)
    await asyncio.gather(rig.containers.remove(WEB), starting, return_exceptions=True)
    await rig.containers.remove(WEB)
    assert await rig.containers.observe_all() == {}
