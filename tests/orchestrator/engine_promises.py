"""What the orchestrator may rely on, whichever engine it has: the real one and the fake one both keep it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from libs.contracts.problems import Failure
from services.orchestrator.domain.engine_events import EngineEvent
from services.orchestrator.domain.failures import BuildFailed, EngineError, NotReady, PortTaken, ToolExited
from services.orchestrator.domain.specs import BuildSpec, ContainerSpec, VolumeMount
from services.orchestrator.ports import Builder, Containers, Feed
from tests.orchestrator.behaviours import (
    ENDS_WELL,
    FAILS,
    HEALTHY_PATH,
    IMAGE,
    MISSING_PATH,
    PRINTS,
    SERVES,
    SLEEPS,
)

WEB, OTHER = "web-abc234", "other-def567"


class Hand(Protocol):
    """Somebody else at the engine."""

    async def kill(self, container_id: str) -> None: ...

    async def images(self, prefix: str) -> list[str]:
        """References that begin so."""
        ...

    async def networks(self, instance: str) -> list[str]: ...

    async def volumes(self, instance: str) -> list[str]: ...


@dataclass(frozen=True)
class Rig:
    instance: str
    containers: Containers
    feed: Feed
    builder: Builder
    hand: Hand
    folder: Path

    def spec(self, tool: str = WEB, **changes: Any) -> ContainerSpec:
        spec = ContainerSpec(self.instance, tool, "r1r1r1r1r1r1", IMAGE, port=8080, command=SERVES, readiness=15.0)
        return replace(spec, **changes)

    def source(self, *dockerfile: str, tool: str = WEB, release: str = "r1r1r1r1r1r1") -> BuildSpec:
        source = self.folder / release
        source.mkdir(exist_ok=True)
        (source / "Dockerfile").write_text("\n".join((f"FROM {IMAGE}", *dockerfile)) + "\n")
        return BuildSpec(self.instance, tool, release, source)


class ContainerPromises:
    async def test_a_started_tool_runs_and_is_ready(self, rig: Rig):
        placed = await rig.containers.start(rig.spec(health_check=HEALTHY_PATH))
        await rig.containers.ready(rig.spec(health_check=HEALTHY_PATH), placed)
        (service,) = (await rig.containers.observe(WEB)).services
        assert (service.name, service.state, service.exit_code) == ("app", "running", None)
        assert (service.container_id, service.host_port) == (placed.container_id, placed.host_port)
        assert placed.host_port is not None
        assert 20_000 <= placed.host_port < 30_000

    async def test_starting_what_runs_changes_nothing(self, rig: Rig):
        first = await rig.containers.start(rig.spec())
        again = await rig.containers.start(rig.spec())
        assert (first.created, first.started) == (True, True)
        assert again == replace(first, created=False, started=False)

    async def test_a_prepared_tool_is_there_and_does_not_run_until_it_is_started(self, rig: Rig):
        prepared = await rig.containers.prepare(rig.spec())
        assert [service.state for service in (await rig.containers.observe(WEB)).services] == ["created"]
        started = await rig.containers.start(rig.spec())
        assert (started.container_id, started.created, started.started) == (prepared.container_id, False, True)

    async def test_a_stopped_tool_starts_again_in_its_container_on_its_port(self, rig: Rig):
        first = await rig.containers.start(rig.spec())
        stopped = await rig.containers.stop(WEB, timeout=0)
        assert [service.state for service in stopped.services] == ["exited"]
        again = await rig.containers.start(rig.spec())
        assert again == replace(first, created=False)

    async def test_stopping_what_does_not_run_changes_nothing(self, rig: Rig):
        assert (await rig.containers.stop(WEB)).services == ()
        await rig.containers.prepare(rig.spec())
        assert [service.state for service in (await rig.containers.stop(WEB)).services] == ["created"]

    async def test_whoever_may_not_go_on_stops_and_removes_nothing_more(self, rig: Rig):
        """As a worker that slept, woke up, and finds that the tool is another's by now."""
        before = await rig.containers.start(rig.spec(command=SLEEPS))

        async def guard() -> None:
            raise LookupError("another's")

        with pytest.raises(LookupError):
            await rig.containers.stop(WEB, timeout=0, guard=guard)
        with pytest.raises(LookupError):
            await rig.containers.remove(WEB, data=True, guard=guard)
        (service,) = (await rig.containers.observe(WEB)).services
        assert (service.container_id, service.state) == (before.container_id, "running")

    async def test_another_spec_takes_the_place_of_what_runs_and_keeps_its_port(self, rig: Rig):
        first = await rig.containers.start(rig.spec())
        changed = await rig.containers.start(rig.spec(environment={"A": "1"}))
        assert changed.container_id != first.container_id
        assert changed.host_port == first.host_port
        seen = await rig.containers.observe(WEB)
        assert [service.container_id for service in seen.services] == [changed.container_id]

    async def test_preparing_another_release_leaves_alone_what_runs(self, rig: Rig):
        running = await rig.containers.start(rig.spec())
        await rig.containers.prepare(rig.spec(release="r2r2r2r2r2r2"))
        (service,) = (await rig.containers.observe(WEB)).services
        assert (service.container_id, service.state) == (running.container_id, "running")

    async def test_a_tool_that_ends_at_once_is_told_with_exit_code_and_last_lines(self, rig: Rig):
        spec = rig.spec(command=FAILS)
        placed = await rig.containers.start(spec)
        with pytest.raises(ToolExited, match="app ended with exit code 3") as ended:
            await rig.containers.ready(spec, placed)
        assert ended.value.code == "exited"
        assert ended.value.detail is not None
        assert (ended.value.detail["exit_code"], ended.value.detail["oom"]) == (3, False)
        assert ended.value.detail["log"] == ["something", "is wrong"]

    async def test_a_server_that_ends_with_0_is_not_ready(self, rig: Rig):
        spec = rig.spec(command=ENDS_WELL, port=None)
        placed = await rig.containers.start(spec)
        with pytest.raises(ToolExited, match="exit code 0"):
            await rig.containers.ready(spec, placed)

    async def test_a_tool_without_a_port_is_ready_when_it_stays_up(self, rig: Rig):
        spec = rig.spec(command=SLEEPS, port=None)
        placed = await rig.containers.start(spec)
        await rig.containers.ready(spec, placed)
        assert placed.host_port is None

    async def test_a_health_check_that_never_answers_200_is_told_with_what_it_answered(self, rig: Rig):
        spec = rig.spec(health_check=MISSING_PATH, readiness=0.5)
        placed = await rig.containers.start(spec)
        with pytest.raises(NotReady, match=r"within 0\.5 s: expected 200 from /nothing") as late:
            await rig.containers.ready(spec, placed)
        assert late.value.detail is not None
        assert late.value.detail["seen"] == "HTTP 404 from /nothing"

    async def test_a_port_nobody_listens_on_is_told(self, rig: Rig):
        spec = rig.spec(command=SLEEPS, readiness=0.3)
        placed = await rig.containers.start(spec)
        with pytest.raises(NotReady, match="connection refused on port 8080"):
            await rig.containers.ready(spec, placed)
        assert (await rig.containers.observe(WEB)).services[0].state == "running"

    async def test_two_tools_get_two_ports_and_a_wished_one_is_given(self, rig: Rig):
        first = await rig.containers.prepare(rig.spec())
        assert first.host_port is not None
        other = await rig.containers.prepare(rig.spec(OTHER))
        assert other.host_port != first.host_port
        wished = await rig.containers.prepare(rig.spec(OTHER, host_port=first.host_port + 1))
        assert wished.host_port == first.host_port + 1

    async def test_a_port_held_by_another_tool_is_told_with_its_holder_and_a_free_one(self, rig: Rig):
        first = await rig.containers.start(rig.spec())
        with pytest.raises(PortTaken) as taken:
            await rig.containers.start(rig.spec(OTHER, host_port=first.host_port))
        assert taken.value.detail is not None
        free = taken.value.detail["free"]
        assert taken.value.detail["holder"] == f"machete-{rig.instance}-{WEB}"
        assert (await rig.containers.start(rig.spec(OTHER, host_port=free))).started

    async def test_an_image_that_is_missing_is_told(self, rig: Rig):
        with pytest.raises(EngineError, match="build the tool again") as missing:
            await rig.containers.start(rig.spec(image=f"machete/{rig.instance}/{WEB}:none"))
        assert missing.value.code == "image_missing"

    async def test_of_what_is_not_there_nothing_is_seen(self, rig: Rig):
        assert (await rig.containers.observe("nobody-abc234")).services == ()
        assert await rig.containers.observe_all() == {}

    async def test_all_tools_are_seen_as_each_alone(self, rig: Rig):
        await rig.containers.start(rig.spec())
        await rig.containers.prepare(rig.spec(OTHER))
        seen = await rig.containers.observe_all()
        for tool in (WEB, OTHER):
            (listed,), (whole,) = seen[tool].services, (await rig.containers.observe(tool)).services
            assert replace(listed, started_at=whole.started_at) == whole

    async def test_two_instances_on_one_engine_do_not_see_each_other(self, rig: Rig, neighbour: Rig):
        ours = await rig.containers.start(rig.spec())
        theirs = await neighbour.containers.start(neighbour.spec())
        assert ours.host_port != theirs.host_port
        assert set(await neighbour.containers.observe_all()) == {WEB}
        await neighbour.containers.stop(WEB, timeout=0)
        await neighbour.containers.remove(WEB, data=True)
        assert await neighbour.containers.observe_all() == {}
        (service,) = (await rig.containers.observe(WEB)).services
        assert (service.container_id, service.state) == (ours.container_id, "running")

    async def test_containers_of_tools_nobody_knows_are_found(self, rig: Rig):
        await rig.containers.prepare(rig.spec())
        await rig.containers.prepare(rig.spec(OTHER))
        assert set(await rig.containers.orphans([WEB])) == {OTHER}

    async def test_removal_takes_all_of_one_tool_and_nothing_of_another(self, rig: Rig):
        volumes = (VolumeMount("db", "/db"),)
        built = await rig.builder.build(rig.source(), ignore)
        await rig.containers.start(rig.spec(image=built.reference, volumes=volumes))
        other = await rig.containers.start(rig.spec(OTHER, volumes=volumes))
        removed = await rig.containers.remove(WEB, data=True)
        assert (removed.images, removed.left) == ((built.reference,), ())
        assert len(removed.containers) == len(removed.networks) == len(removed.volumes) == 1
        assert await rig.hand.images(f"machete/{rig.instance}/") == []
        assert len(await rig.hand.volumes(rig.instance)) == 1
        assert set(await rig.containers.observe_all()) == await rig.containers.owning() == {OTHER}
        assert (await rig.containers.observe(OTHER)).services[0].container_id == other.container_id

    async def test_an_image_alone_is_something_of_its_tool_and_a_volume_is_not(self, rig: Rig, neighbour: Rig):
        assert await rig.containers.owning() == set()
        built = await rig.builder.build(rig.source(), ignore)
        assert await rig.containers.owning() == {WEB}
        assert await neighbour.containers.owning() == set()
        await rig.containers.prepare(rig.spec(image=built.reference, volumes=(VolumeMount("db", "/db"),)))
        await rig.containers.remove(WEB, images=False)
        assert await rig.containers.owning() == {WEB}
        await rig.containers.remove(WEB)
        assert await rig.containers.owning() == set()

    async def test_removal_can_be_repeated_and_needs_nothing_to_be_there(self, rig: Rig):
        await rig.containers.prepare(rig.spec())
        await rig.containers.remove(WEB)
        removed = await rig.containers.remove(WEB, data=True)
        assert (removed.containers, removed.images, removed.left) == ((), (), ())

    async def test_data_outlives_a_removal_without_the_word_for_it(self, rig: Rig):
        await rig.containers.prepare(rig.spec(volumes=(VolumeMount("db", "/db"),)))
        kept = (await rig.containers.remove(WEB)).kept
        assert len(kept) == len(await rig.hand.volumes(rig.instance)) == 1
        assert (await rig.containers.remove(WEB, data=True)).kept == ()
        assert await rig.hand.volumes(rig.instance) == []

    async def test_a_tool_that_keeps_crashing_can_be_stopped_and_removed(self, rig: Rig):
        await rig.containers.start(rig.spec(command=FAILS))
        stopped = await rig.containers.stop(WEB, timeout=0)
        assert [service.state for service in stopped.services] == ["exited"]
        await rig.containers.remove(WEB)
        assert await rig.containers.observe_all() == {}


class FeedPromises:
    async def test_the_engine_tells_its_version(self, rig: Rig):
        assert (await rig.feed.ping())[0].isdigit()

    async def test_a_container_killed_by_hand_shows_within_a_second(self, rig: Rig):
        placed = await rig.containers.start(rig.spec(command=SLEEPS))
        async with collected(rig) as events:
            began = time.monotonic()
            await rig.hand.kill(placed.container_id)
            killed = await until(events, "kill")
            died = await until(events, "die")
            assert time.monotonic() - began < 1
        assert killed.container_id == placed.container_id
        assert (died.tool, died.service, died.exit_code) == (WEB, "app", 137)
        assert died.container_id == placed.container_id
        (service,) = (await rig.containers.observe(WEB)).services
        assert (service.state, service.exit_code) == ("exited", 137)

    async def test_events_of_another_instance_are_not_told(self, rig: Rig, neighbour: Rig):
        async with collected(rig) as events:
            await neighbour.containers.prepare(neighbour.spec())
            ours = await rig.containers.prepare(rig.spec())
            assert (await until(events, "create")).container_id == ours.container_id

    async def test_events_since_an_instant_are_told_again(self, rig: Rig):
        async with collected(rig) as events:
            await rig.containers.start(rig.spec(command=SLEEPS))
            created, started = await until(events, "create"), await until(events, "start")
        await rig.containers.stop(WEB, timeout=0)
        async with aclosing(rig.feed.events(created.time)) as again:
            assert await anext(again) == created
        async with aclosing(rig.feed.events(started.time)) as again:
            assert await anext(again) == started
            assert (await until(again, "die")).exit_code is not None

    async def test_what_happens_is_told_whatever_the_instant_that_was_asked_for(self, rig: Rig):
        """As to one who asked before the engine's clock was set back."""
        async with aclosing(rig.feed.events(await rig.feed.now() + 3_600 * 10**9)) as events:
            coming = asyncio.ensure_future(until(events, "die"))
            while not coming.done():
                await rig.containers.start(rig.spec(command=SLEEPS))
                await rig.containers.stop(WEB, timeout=0)
                await asyncio.wait({coming}, timeout=0.2)
            assert (await coming).tool == WEB

    async def test_the_engine_s_events_have_their_times_by_the_clock_that_it_shows(self, rig: Rig):
        before = await rig.feed.now()
        async with aclosing(rig.feed.events(before)) as events:
            await rig.containers.prepare(rig.spec())
            made = (await until(events, "create")).time
            after = await rig.feed.now()
        assert before <= made <= after

    async def test_a_log_is_followed_from_its_beginning_and_while_it_is_written(self, rig: Rig):
        placed = await rig.containers.start(rig.spec(command=PRINTS))
        async with aclosing(rig.feed.follow_logs(placed.container_id)) as batches:
            lines = await first_lines(batches, 3)
        assert [(line.stream, line.text) for line in lines] == [
            ("stdout", "first"),
            ("stderr", "second"),
            ("stdout", "third"),
        ]

    async def test_following_goes_on_exactly_after_any_line(self, rig: Rig):
        placed = await rig.containers.start(rig.spec(command=PRINTS))
        async with aclosing(rig.feed.follow_logs(placed.container_id)) as batches:
            lines = await first_lines(batches, 3)
        for line, rest in ((lines[0], ["second", "third"]), (lines[1], ["third"])):
            async with aclosing(rig.feed.follow_logs(placed.container_id, line.position)) as batches:
                assert [found.text for found in await first_lines(batches, len(rest))] == rest

    async def test_a_followed_log_ends_with_its_container(self, rig: Rig):
        placed = await rig.containers.start(rig.spec(command=PRINTS))
        following = asyncio.create_task(all_lines(rig, placed.container_id))
        async with aclosing(rig.feed.follow_logs(placed.container_id)) as batches:
            await first_lines(batches, 3)
        await rig.hand.kill(placed.container_id)
        assert await asyncio.wait_for(following, 5) == ["first", "second", "third"]

    async def test_the_last_lines_can_be_read(self, rig: Rig):
        spec = rig.spec(command=ENDS_WELL)
        placed = await rig.containers.start(spec)
        with pytest.raises(ToolExited):
            await rig.containers.ready(spec, placed)
        await rig.containers.stop(WEB)
        assert [line.text for line in await rig.feed.tail_logs(placed.container_id, 1)] == ["done"]

    async def test_the_log_of_a_container_that_is_gone_is_refused(self, rig: Rig):
        with pytest.raises(EngineError, match="No such container") as gone:
            await all_lines(rig, "0" * 64)
        assert gone.value.code == "not_found"


class BuilderPromises:
    async def test_what_was_built_can_be_started(self, rig: Rig):
        built = await rig.builder.build(rig.source("EXPOSE 8080"), ignore)
        assert built.reference == f"machete/{rig.instance}/{WEB}:r1r1r1r1r1r1"
        assert (built.exposed, built.reused) == ((8080,), False)
        assert (await rig.containers.start(rig.spec(image=built.reference))).started

    async def test_a_release_is_built_once(self, rig: Rig):
        first = await rig.builder.build(rig.source(), ignore)
        again = await rig.builder.build(rig.source(), ignore)
        assert again == replace(first, reused=True)

    async def test_the_log_streams_while_the_build_runs(self, rig: Rig):
        lines: asyncio.Queue[str] = asyncio.Queue()
        step = f"echo hello from {rig.instance}"

        async def log(batch: list[str]) -> None:
            for line in batch:
                lines.put_nowait(line)

        building = asyncio.create_task(rig.builder.build(rig.source(f"RUN {step}", "RUN sleep 30"), log))
        try:
            async with asyncio.timeout(20):
                while step not in await lines.get():
                    assert not building.done()
        finally:
            building.cancel()
            await asyncio.wait({building})
        assert building.cancelled()

    async def test_a_cancelled_build_ends_within_two_seconds_and_can_be_repeated(self, rig: Rig):
        sleeping = asyncio.Event()

        async def log(batch: list[str]) -> None:
            if any("RUN sleep 29" in line for line in batch):
                sleeping.set()

        building = asyncio.create_task(rig.builder.build(rig.source("RUN sleep 29"), log))
        await asyncio.wait_for(sleeping.wait(), 20)
        began = time.monotonic()
        building.cancel()
        await asyncio.wait({building})
        assert building.cancelled()
        assert time.monotonic() - began < 2
        assert not (await rig.builder.build(rig.source("RUN true"), ignore)).reused

    async def test_a_failed_build_names_its_step_and_leaves_no_image(self, rig: Rig):
        said = r"failed at step .* `RUN exit 7`: .* exit code: 7: its last lines say why\.$"
        with pytest.raises(BuildFailed, match=said) as failed:
            await rig.builder.build(rig.source("RUN exit 7"), ignore)
        assert failed.value.detail is not None
        assert any("RUN exit 7" in line for line in failed.value.detail["log"])
        assert await rig.hand.images(f"machete/{rig.instance}/") == []

    async def test_a_repository_without_a_dockerfile_is_told(self, rig: Rig):
        spec = replace(rig.source(), dockerfile="docker/Dockerfile", subdir=".")
        with pytest.raises(Failure, match=r"has no \./docker/Dockerfile") as missing:
            await rig.builder.build(spec, ignore)
        assert missing.value.code == "no_dockerfile"

    @pytest.mark.parametrize("change", [{"subdir": ".."}, {"dockerfile": "../Dockerfile"}, {"subdir": "link"}])
    async def test_nothing_outside_the_repository_is_built(self, rig: Rig, change: dict[str, str]):
        spec = rig.source()
        (rig.folder / "Dockerfile").write_text(f"FROM {IMAGE}\n")
        (spec.source / "link").symlink_to("..")
        with pytest.raises(Failure, match="outside the repository"):
            await rig.builder.build(replace(spec, **change), ignore)


async def ignore(lines: list[str]) -> None:
    """A log nobody reads."""


class collected:
    """Events from the moment the block is entered, with a first one to know that the stream is open."""

    def __init__(self, rig: Rig) -> None:
        self._since = time.time_ns()
        self._events = rig.feed.events(self._since)

    async def __aenter__(self) -> AsyncIterator[EngineEvent]:
        return self._events

    async def __aexit__(self, *_: object) -> None:
        await self._events.aclose()


async def until(events: AsyncIterator[EngineEvent], action: str) -> EngineEvent:
    async with asyncio.timeout(10):
        async for event in events:
            if event.action == action:
                return event
    raise AssertionError(f"the events ended before {action}")


async def first_lines(batches: AsyncIterator[Any], count: int) -> list[Any]:
    lines: list[Any] = []
    async with asyncio.timeout(10):
        while len(lines) < count:
            lines += await anext(batches)
    return lines


async def all_lines(rig: Rig, container_id: str) -> list[str]:
    return [line.text async for batch in rig.feed.follow_logs(container_id) for line in batch]
