"""The clock of one process is wrong: what it has a part in is done all the same, in time and no sooner."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.clocks import wrong
from tests.support.platform import Platform
from tests.support.platform_checks import fresh, succeeded
from tests.support.platform_stacks import stack, waits
from tests.support.platform_tools import web


@pytest.mark.parametrize("by", ["+3h", "-3h"])
@pytest.mark.parametrize("worker", ["installer", "orchestrator"])
async def test_tools_are_installed_and_started_by_a_worker_with_a_wrong_clock(
    singles: Platform, worker: str, by: str
) -> None:
    """By more than the hour that an install may take."""
    process = singles.processes[worker]
    await process.terminate()
    with process.given(wrong(by)):
        await process.start()
    tools = {"web": web(), "stack": stack({"app": waits()})}
    installs = [
        await singles.api.install(fresh(kind), singles.forge.tool(kind, files), start=True)
        for kind, files in tools.items()
    ]
    await asyncio.gather(*(succeeded(singles, install) for install in installs))
    await process.terminate()
    await process.start()
