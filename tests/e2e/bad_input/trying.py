"""Every case tried once, on one platform: what came of each, and what it left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from libs.contracts.streams import COMMANDS, NAMES, STATES, TASKS
from tests.e2e.bad_input.bench import (
    FETCH_LIMIT,
    FETCH_TIMEOUT,
    PATIENT,
    Bench,
    small_disk,
    untrusted_tls,
)
from tests.e2e.bad_input.case import Came, Case
from tests.e2e.bad_input.catalogue import OUTAGES, SIDE_BY_SIDE, STORES_NOTHING
from tests.support.platform import split_platform, whole_platform
from tests.support.platform_api import Refusal
from tests.support.platform_checks import fresh
from tests.support.platform_proxy import EngineProxy
from tests.support.platform_tools import web


@dataclass
class Tried:
    """By the names of the cases: what came, or what was not as it should be."""

    came: dict[str, Sequence[Came]] = field(default_factory=dict[str, Sequence[Came]])
    wrong: dict[str, BaseException] = field(default_factory=dict[str, BaseException])
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    stored: tuple[Any, Any] = (None, None)


@asynccontextmanager
async def bench_in(folder: Path) -> AsyncGenerator[Bench]:
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(EngineProxy(folder / "engine.sock"))
        settings = {
            **PATIENT,
            "DOCKER_HOST": engine.address,
            "MACHETE_FETCH_LIMIT": str(FETCH_LIMIT),
            "MACHETE_FETCH_TIMEOUT": str(FETCH_TIMEOUT),
        }
        (folder / "split").mkdir()
        split = await stack.enter_async_context(split_platform(folder / "split", installer=0, orchestrator=0))
        platform = await stack.enter_async_context(whole_platform(folder / "whole", settings))
        for name in ("fetches", "tools"):
            await stack.enter_async_context(small_disk(platform.data / name, "48m"))
        tls_port = stack.enter_context(untrusted_tls(folder))
        neighbour = await platform.api.install(fresh("neighbour"), platform.forge.tool("web", web()), start=True)
        bench = Bench(platform, split, engine, neighbour, tls_port)
        await bench.succeeds(neighbour)
        yield bench


async def try_all(bench: Bench) -> Tried:
    tried = Tried()
    before = await stored(bench)
    for case in STORES_NOTHING:
        await _try(bench, case, tried)
    tried.stored = (before, await stored(bench))
    await asyncio.gather(*(_try(bench, case, tried) for case in SIDE_BY_SIDE))
    for case in OUTAGES:
        await _try(bench, case, tried)
    return tried


async def stored(bench: Bench) -> dict[str, int]:
    """The newest message of every stream that something accepted would stand in."""
    names = (COMMANDS.name, TASKS.name, STATES.name, f"KV_{NAMES.name}")
    found = await asyncio.gather(*(bench.platform.bus.jetstream.stream_info(name) for name in names))
    return {info.config.name or "": info.state.last_seq for info in found}


async def _try(bench: Bench, case: Case, tried: Tried) -> None:
    async with bench.turns:
        began = time.monotonic()
        try:
            came = await case.provoke(bench)
            tried.came[case.name] = [came] if isinstance(came, Came) else came
            for each in tried.came[case.name]:
                await _left(bench, case, each)
        except Exception as problem:  # told by the case's own test
            tried.wrong[case.name] = problem
        tried.seconds[case.name] = time.monotonic() - began


async def _left(bench: Bench, case: Case, came: Came) -> None:
    """Raises AssertionError for anything half-done."""
    if not came.tool:
        return
    if case.leaves == "installed":
        tool = await bench.platform.api.tool(came.name)
        assert tool["state"] == "failed", tool
        assert came.status is not None or tool["reason"] == came.text or came.code == tool["state"], tool
        assert came.code == tool["state"] or not await bench.platform.hand.running(came.tool)
        await bench.succeeds(await bench.platform.api.uninstall(came.name))
    await bench.platform.is_gone(came.tool)
    with pytest.raises(Refusal, match="tool_not_found"):
        await bench.platform.api.tool(came.name)
