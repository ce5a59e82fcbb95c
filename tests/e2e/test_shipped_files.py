"""A relative volume holds what the repository ships there, from the first start, and then whatever became of it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.platform import Platform
from tests.support.platform_api import Api
from tests.support.platform_checks import fresh
from tests.support.platform_tools import Files, web

VOLUMES = ["./config:/www/config:ro", "./site/page.txt:/www/page.txt", "./data:/www/data"]
SHIPPED: Files = {"config/default.json": b'{"shipped": 1}', "site/page.txt": b"a page"}


async def seen(tool: dict[str, Any], path: str) -> str:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{tool['urls'][0]}{path}")
        answer.raise_for_status()
        return answer.text


@pytest.mark.parametrize("subdir", [None, "tools/one"])
async def test_a_container_sees_what_its_repository_ships_and_keeps_what_was_made_of_it(
    platform: Platform, api: Api, subdir: str | None
) -> None:
    files = {**web(volumes=VOLUMES), **SHIPPED}
    name = fresh("ships")
    url = platform.forge.tool(fresh("repo"), {f"{subdir}/{path}" if subdir else path: files[path] for path in files})
    install = await api.install(name, url, start=True, **({"subdir": subdir} if subdir else {}))
    ended = await api.done(install)
    assert ended["state"] == "succeeded", ended["error"]
    tool = await api.tool(name)
    assert await seen(tool, "config/default.json") == '{"shipped": 1}'
    assert await seen(tool, "page.txt") == "a page"

    data = platform.folder_of(install.tool) / "data"
    assert sorted(path.name for path in data.iterdir()) == ["config", "data", "site"]
    (data / "config/default.json").write_text("mine")
    (data / "site/page.txt").unlink()
    assert (await api.done(await api.restart(name)))["state"] == "succeeded"
    assert await seen(tool, "config/default.json") == "mine"
    assert await seen(tool, "page.txt") == "a page"
