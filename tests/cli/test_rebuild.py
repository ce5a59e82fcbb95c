"""`machete rebuild status` asks, waits, and says what came of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from httpx import AsyncClient as Api

from libs.contracts.tools import ToolState
from tests.cli.hands import Shell, Worker
from tests.cli.test_changes import installed


async def shown(api: Api, name: str) -> dict[str, Any]:
    """The tool, once the end of its install has come into the tables."""
    async with asyncio.timeout(20):
        while True:
            tool = (await api.get(f"/api/v1/tools/{name}")).json()
            if tool["release"] is not None:
                return tool
            await asyncio.sleep(0.05)


async def test_it_is_waited_for_and_told(shell: Shell, api: Api, worker: Worker):
    await installed(api, worker, "looked-at")
    before = await shown(api, "looked-at")
    said = await shell.run("rebuild", "status")
    assert (said.code, said.err) == (0, ""), said
    assert said.out.startswith("rebuilt from ")
    assert " tools, " in said.out
    assert (await api.get("/api/v1/tools/looked-at")).json() == before
    assert before["state"] == ToolState.STOPPED


async def test_programs_are_told_all_of_it(shell: Shell, api: Api):
    said = await shell.run("rebuild", "status", "--json")
    told = json.loads(said.out)
    assert (said.code, told["state"], told["requested_by"]) == (0, "succeeded", "user:admin")
    assert (told["differed"], told["dropped"], told["reason"]) == (0, 0, None)
    assert (await api.get(told["links"]["self"])).json() == told


async def test_it_need_not_be_waited_for(shell: Shell, api: Api):
    said = await shell.run("rebuild", "status", "--no-wait", "--json")
    assert said.code == 0
    assert (await api.get(json.loads(said.out)["links"]["self"])).status_code == 200
