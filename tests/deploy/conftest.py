"""A platform on which things were done and things went wrong, and a Prometheus that looked on from the beginning."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from libs.contracts.names import tool_id
from libs.contracts.streams import COMMANDS
from libs.contracts.subjects import COMMAND
from tests.support.platform import ACK_WAIT, Platform, whole_platform
from tests.support.platform_checks import fresh
from tests.support.platform_process import belonging_to
from tests.support.platform_proxy import EngineProxy
from tests.support.platform_tools import fails_to_build, gated, talkative, web
from tests.support.platform_waiting import until
from tests.support.prometheus_server import Prometheus, running_prometheus


@dataclass
class Watched:
    """While tests ask, one tool runs, one is stopped, and one WebSocket is open."""

    platform: Platform
    prometheus: Prometheus

    async def counted(self, promql: str, what: str) -> float:
        """What a query comes to, once that is above zero."""
        return await until(lambda: self.prometheus.value(promql), what, 20)


@pytest.fixture(scope="package")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(EngineProxy(folder / "engine.sock"))
        platform = await stack.enter_async_context(whole_platform(folder, {"DOCKER_HOST": proxy.address}))
        targets, token = [platform.url().removeprefix("http://")], platform.data / "metrics.token"
        prometheus = await stack.enter_async_context(running_prometheus(folder / "prometheus", targets, token))
        watched = Watched(platform, prometheus)
        await _work(platform)
        await watched.counted("machete_dead_letters_total", "what cannot be read was put aside")
        await _interrupt(watched)
        await _lose_the_engine(watched, proxy)
        await stack.enter_async_context(platform.api.live("tools"))
        yield watched
        assert platform.complaints() == []


async def _work(platform: Platform) -> None:
    """All at once, with somebody who looks on."""
    async with platform.api.live("tools") as live:
        looking = asyncio.create_task(live.until(lambda _: False, patience=100))
        await asyncio.gather(
            _life(platform, stays=False),
            _life(platform, stays=True),
            _talk(platform),
            _fail(platform),
            _fail(platform),
            _say_nonsense(platform),
        )
        assert live.cursor is not None
        looking.cancel()


async def _life(platform: Platform, *, stays: bool) -> None:
    api, name = platform.api, fresh("web")
    await api.done(await api.install(name, platform.forge.tool(name, web()), start=True))
    await api.done(await api.stop(name))
    await api.done(await api.start(name))
    if not stays:
        await api.done(await api.restart(name))
        await api.done(await api.uninstall(name))


async def _talk(platform: Platform) -> None:
    api, name = platform.api, fresh("stopped")
    await api.done(await api.install(name, platform.forge.tool(name, talkative(5)), start=True))
    await api.all_lines(f"/api/v1/tools/{name}/logs")
    await api.done(await api.stop(name))


async def _fail(platform: Platform) -> None:
    """A tool that cannot be built, and a request for what is not there."""
    name = fresh("broken")
    failed = await platform.api.done(await platform.api.install(name, platform.forge.tool(name, fails_to_build())))
    assert failed["state"] == "failed"
    assert (await platform.api.client.get("/api/v1/tools/nothing")).status_code == 404


async def _say_nonsense(platform: Platform) -> None:
    """A command that nobody can read."""
    async with platform.as_user("gateway") as bus:
        subject = COMMAND["start"].build({"tool": tool_id("unreadable", "none")})
        await bus.jetstream.publish(subject, b"this is no command", stream=COMMANDS.name)


async def _interrupt(watched: Watched) -> None:
    """NATS stands still for longer than a worker may be silent: what is stored now is tried again, what was handed out
    is handed out again."""
    platform = watched.platform
    held = await platform.api.install(fresh("held"), platform.forge.tool("held", gated(platform.gate, "held")))
    await platform.gate.reached("held")
    (server,) = [pid for pid, words in belonging_to(platform.data).items() if "nats-server" in words]
    os.kill(server, signal.SIGSTOP)
    try:
        during = asyncio.create_task(platform.api.install(fresh("during"), platform.forge.tool("web", web())))
        await asyncio.sleep(1.5 * ACK_WAIT)  # the server's own clock is what has to run out
    finally:
        os.kill(server, signal.SIGCONT)
    platform.gate.open("held")
    await watched.counted('sum(machete_deliveries_total{repeated="yes"})', "a message was handed out again")
    for accepted in (held, await during):
        await platform.ended(accepted)


async def _lose_the_engine(watched: Watched, proxy: EngineProxy) -> None:
    await proxy.cut()
    query = 'sum(machete_engine_calls_total{outcome="engine_away"}) > 1'
    await watched.counted(query, "calls fail while the engine is away")
    await proxy.mend()
    await watched.counted('machete_check_ok{check="engine"}', "the engine is back")
