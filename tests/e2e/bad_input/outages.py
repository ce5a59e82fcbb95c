"""What MACHETE stands on is away or full: Docker, NATS, the disk. One after the other, since all others notice."""

from __future__ import annotations

import httpx

from tests.e2e.bad_input.addresses import noise
from tests.e2e.bad_input.bench import NOBODY, Bench, filled, refused
from tests.e2e.bad_input.case import Came, Case
from tests.support.platform_checks import fresh
from tests.support.platform_tools import web
from tests.support.platform_waiting import until


async def disk_full_fetching(bench: Bench) -> Came:
    with filled(bench.platform.data / "fetches", 300_000):
        return await bench.installs({**web(), "noise": noise(1_000_000)})


async def disk_full_unpacking(bench: Bench) -> Came:
    with filled(bench.platform.data / "tools", 1_500_000):
        return await bench.installs({**web(), "noise": noise(1_000_000)})


async def disk_full_receiving(bench: Bench) -> Came:
    with filled(bench.platform.data / "tools", 300_000):
        return await bench.installs({**web(), "noise": noise(1_000_000)})


async def engine_away(bench: Bench) -> list[Came]:
    """The tool is unknown, health says why, and what was accepted meanwhile is done when the engine is back."""
    await bench.engine.cut()
    try:
        shown = await bench.shows(bench.neighbour, "unknown")
        install = await bench.accepted(web())
        await bench.platform.started(install)
        assert (await bench.platform.record(install)).ended is None
    finally:
        await bench.engine.mend()
    await bench.succeeds(install)
    await bench.succeeds(await bench.platform.api.uninstall(install.body["operation"]["tool_name"]))

    async def runs() -> bool:
        return (await bench.platform.api.tool(bench.neighbour_name))["state"] == "running"

    await until(runs, "the neighbour's state is known again")
    return [Came(None, shown.code, shown.text)]


async def engine_away_health(bench: Bench) -> Came:
    await bench.engine.cut()
    try:

        async def degraded() -> Came | None:
            health = await bench.platform.api.health()
            check = health["services"]["orchestrator"]["checks"]["engine"]
            well = health["status"] == "ok" or check["ok"] or not health["ready"]
            return None if well else Came(200, health["status"], check["detail"])

        return await until(degraded, "health says that the engine is away")
    finally:
        await bench.engine.mend()


async def bus_away(bench: Bench) -> Came:
    """Refused while it is away, accepted once it is back."""
    split, body = bench.split, {"git_url": NOBODY, "name": fresh("late")}
    assert split.nats is not None
    await split.nats.kill()
    try:
        came = refused(await split.api.client.post("/api/v1/tools", json=body))
    finally:
        await split.nats.start()
    await _accepted_at_last(bench, body)
    return came


async def bus_away_reading(bench: Bench) -> Came:
    split = bench.split
    assert split.nats is not None
    await split.nats.kill()
    try:
        return refused(await split.api.client.get("/api/v1/tools"))
    finally:
        await split.nats.start()


async def bus_away_at_start(bench: Bench) -> Came:
    """A service that finds no NATS waits for it, says so to everybody who asks, and goes on by itself."""
    split, gateway = bench.split, bench.split.processes["gateway"]
    assert split.nats is not None
    await split.nats.kill()
    await gateway.kill()
    try:
        gateway.launch()

        async def starting() -> Came | None:
            try:
                return refused(await split.api.client.get("/api/v1/tools"))
            except httpx.TransportError:
                return None

        came = await until(starting, "the gateway answers")
    finally:
        await split.nats.start()
    await gateway.ready()
    await _accepted_at_last(bench, {"git_url": NOBODY, "name": fresh("late")})
    return came


async def _accepted_at_last(bench: Bench, body: dict[str, str]) -> None:
    async def accepted() -> bool:
        return (await bench.split.api.client.post("/api/v1/tools", json=body)).status_code == 202

    await until(accepted, "the gateway takes requests again")


OUTAGES = (
    Case("disk-full-fetching", "a full disk while the repository is fetched", disk_full_fetching),
    Case("disk-full-receiving", "a full disk while the sources are handed over", disk_full_receiving),
    Case("disk-full-unpacking", "a full disk while the sources are unpacked", disk_full_unpacking),
    Case("engine-away", "Docker is away: a tool", engine_away, "as it was", door="tool"),
    Case("engine-away-health", "Docker is away: health", engine_away_health, leaves="as it was"),
    Case("nats-away", "NATS is away: a request to change something", bus_away, leaves="as it was"),
    Case("nats-away-reading", "NATS is away: a question", bus_away_reading, leaves="as it was"),
    Case("nats-away-at-start", "NATS is away when a service starts", bus_away_at_start, leaves="as it was"),
)
