"""Watches a started container until it answers, ends, or has had its time."""

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from libs.runtime.cancellation import abandon
from services.orchestrator.adapters.engine import Engine, Query, path_of
from services.orchestrator.adapters.feed import DockerFeed
from services.orchestrator.adapters.last_lines import last_lines
from services.orchestrator.domain.failures import EngineAway, NotReady, ToolExited
from services.orchestrator.domain.log_frames import since as engine_time
from services.orchestrator.domain.observations import ServiceObservation, from_inspection
from services.orchestrator.domain.readiness import (
    Answer,
    exit_sentence,
    late_sentence,
    pause_after,
    verdict,
)
from services.orchestrator.domain.specs import ContainerSpec

PROBE_PATIENCE = 5.0
LATELY = 60 * 1_000_000_000  # nanoseconds
NO_WAY = "no way to the container"
PROXY_HANGS_UP = 0.05  # seconds in which the engine's port proxy closes a connection nobody takes


@dataclass(frozen=True)
class Target:
    """`proxied`: reached through the host's port, where the engine's proxy accepts before the tool does."""

    host: str
    port: int
    proxied: bool = False


async def wait_until_ready(
    engine: Engine, feed: DockerFeed, spec: ContainerSpec, container: str, host_port: int | None
) -> None:
    """Returns when it is ready. Raises ToolExited or NotReady, with its last lines; leaves it as it is."""
    began = time.monotonic()
    details = await _inspect(engine, container)
    service, target = from_inspection(details), _target(details, spec)
    restarts, attempt, answer = service.restarts, 0, None
    ended = asyncio.ensure_future(exit_code(engine, container))
    try:
        while True:
            match verdict(spec, service, restarts, answer, time.monotonic() - began):
                case "ready":
                    return
                case "exited":
                    raise await _exited(feed, service)
                case "late":
                    raise await _late(feed, spec, service, answer)
                case "wait":
                    if target is not None:
                        answer = await _unless(ended, _probe(target, spec)) or answer
                        target = _next_target(target, answer, host_port)
            if answer is None or not answer.is_good(spec):
                await asyncio.wait({ended}, timeout=pause_after(attempt))
            attempt += 1
            if ended.done():
                service = await _ending(feed, container, ended.result())
    finally:
        await abandon(ended)


async def _inspect(engine: Engine, container: str) -> dict[str, Any]:
    return await engine.call("GET", path_of("containers", container, "json"))


async def exit_code(engine: Engine, container: str) -> int:
    """Waits for its end at the engine, so that one is seen at once although the engine restarts it."""
    answer = await engine.call("POST", path_of("containers", container, "wait"), patience=None)
    if answer is None:
        raise EngineAway("The Docker Engine broke off its answer about the container's end.")
    return int(answer["StatusCode"])


async def _ending(feed: DockerFeed, container: str, exit_code: int) -> ServiceObservation:
    """The end as it was, though the engine may be running it again by now, and have forgotten why it ended."""
    service = from_inspection(await _inspect(feed.engine, container))
    oom = service.oom or await _wanted_memory(feed, container)
    return replace(service, state="exited", exit_code=exit_code, oom=oom)


async def _wanted_memory(feed: DockerFeed, container: str) -> bool:
    """Whether the engine said so lately: its events outlive a restart."""
    now = await feed.now()
    query: Query = {
        "since": engine_time(now - LATELY),
        "until": engine_time(now),
        "filters": {"container": [container], "event": ["oom"]},
    }
    async with aclosing(feed.engine.json_lines("/events", query)) as events:
        return await anext(events, None) is not None


async def _exited(feed: DockerFeed, service: ServiceObservation) -> ToolExited:
    log = await last_lines(feed, service.container_id, ended=True)
    return ToolExited(exit_sentence(service), service.exit_code, service.oom, log)


async def _late(feed: DockerFeed, spec: ContainerSpec, service: ServiceObservation, answer: Answer | None) -> NotReady:
    seen = answer.in_words(spec) if answer else "nothing"
    log = await last_lines(feed, service.container_id, ended=False)
    return NotReady(late_sentence(spec, service.name, seen), seen, log)


def _target(details: dict[str, Any], spec: ContainerSpec) -> Target | None:
    """The container itself: on the host's port the engine's proxy accepts before the tool listens."""
    if spec.port is None:
        return None
    networks = details["NetworkSettings"]["Networks"] or {}
    address = next((network["IPAddress"] for network in networks.values() if network["IPAddress"]), "")
    return Target(address, spec.port) if address else None


def _next_target(target: Target, answer: Answer | None, host_port: int | None) -> Target:
    """Where containers' addresses lead nowhere (an engine in a virtual machine), the host's port must do."""
    unreachable = answer is not None and answer.refusal == NO_WAY
    return Target("127.0.0.1", host_port, proxied=True) if unreachable and host_port else target


async def _unless(ended: asyncio.Future[int], probe: Any) -> Answer | None:
    """The probe's answer, or None when the container ended first: a probe into a dead network hangs."""
    asked = asyncio.ensure_future(probe)
    try:
        await asyncio.wait({asked, ended}, return_when=asyncio.FIRST_COMPLETED)
        return asked.result() if asked.done() else None
    finally:
        await abandon(asked)


async def _probe(target: Target, spec: ContainerSpec) -> Answer:
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(PROBE_PATIENCE):
            reader, writer = await asyncio.open_connection(target.host, target.port)
            if spec.health_check is not None:
                return await _ask(reader, writer, spec.health_check)
            if target.proxied and await _hangs_up(reader):
                return Answer(refusal="connection refused")
            return Answer()
    except TimeoutError:
        connected = writer is not None or target.proxied
        return Answer(refusal=f"no answer in {PROBE_PATIENCE:g} s" if connected else NO_WAY)
    except ConnectionError as refused:
        reset = not isinstance(refused, ConnectionRefusedError)
        return Answer(refusal="connection broken off" if reset else "connection refused")
    except OSError:
        return Answer(refusal=NO_WAY)
    finally:
        if writer is not None:
            writer.transport.abort()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> Answer:
    target = quote(path, safe="/?&=%:@,;+~!$'()*#[]")
    head = (f"GET {target} HTTP/1.1", "Host: localhost", "User-Agent: machete", "Accept: */*", "Connection: close")
    writer.write("".join(f"{line}\r\n" for line in (*head, "")).encode("ascii"))
    words = (await reader.readline()).split(b" ", 2)
    if not words[0]:
        return Answer(refusal="connection broken off")
    if not words[0].startswith(b"HTTP/") or len(words) < 2 or not words[1][:3].isdigit():
        return Answer(refusal="an answer that is not HTTP")
    return Answer(status=int(words[1][:3]))


async def _hangs_up(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(PROXY_HANGS_UP):
            return not await reader.read(1)
    except TimeoutError:
        return False
