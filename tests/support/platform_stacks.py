"""Tiny Compose stacks for tests, and how they are looked at from outside."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

import httpx

from deploy.setup.images import BUSYBOX
from tests.support.platform import Platform
from tests.support.platform_api import Accepted
from tests.support.platform_checks import fresh
from tests.support.platform_tools import Files

COMPOSE = "compose.yaml"
LABEL_SERVICE = "io.machete.service"
MARKED = r""""$@" 2>&1; printf "\n%s:ended\n" $?"""
ENDED = re.compile(r"(?P<output>.*)\n(?P<code>\d+):ended\n", re.DOTALL)
MOST_TRIES = 10


def service(script: str, **keys: Any) -> dict[str, Any]:
    """A service that runs a shell script, and ends at once when it is asked to."""
    command = ["sh", "-c", f"trap 'exit 0' TERM; {script}".replace("$", "$$")]
    return {"image": BUSYBOX, "command": command, **keys}


def serves(text: str, port: int = 8080, before: str = "", **keys: Any) -> dict[str, Any]:
    """A service whose page is this text."""
    script = f'{before} mkdir -p /www; echo "{text}" > /www/index.html; httpd -f -p {port} -h /www & wait $!'
    return service(script, **keys)


def waits(**keys: Any) -> dict[str, Any]:
    return service("sleep 5000 & wait $!", **keys)


def stack(
    services: Mapping[str, Any],
    machete: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
    compose: str = COMPOSE,
    **top: Any,
) -> Files:
    """The files of a repository; with a manifest where there is something to say in it. JSON is YAML."""
    found = {name: text.encode() for name, text in (files or {}).items()}
    found[compose] = json.dumps({"services": services, **top}, ensure_ascii=False).encode()
    if machete is not None:
        found["machete.yml"] = json.dumps({"version": "1.0.0", "machete": machete}, ensure_ascii=False).encode()
    return found


async def installed(platform: Platform, files: Files, **body: Any) -> tuple[str, Accepted]:
    """The name of a new tool that runs, and how its install was accepted."""
    name = fresh("stack")
    accepted = await platform.api.install(name, platform.forge.tool(fresh("repo"), files), start=True, **body)
    ended = await platform.api.done(accepted)
    assert ended["state"] == "succeeded", ended["error"]
    return name, accepted


async def failed(platform: Platform, files: Files, **body: Any) -> tuple[str, Accepted, dict[str, Any]]:
    """As `installed`, of one that cannot be; and the error."""
    name = fresh("stack")
    accepted = await platform.api.install(name, platform.forge.tool(fresh("repo"), files), **{"start": True, **body})
    ended = await platform.api.done(accepted)
    assert ended["state"] == "failed", ended
    return name, accepted, ended["error"]


async def did(platform: Platform, action: str, name: str) -> dict[str, Any]:
    """The tool after an action that ended well."""
    ended = await platform.api.done(await platform.api.change(action, name))
    assert ended["state"] == "succeeded", ended["error"]
    return await platform.api.tool(name)


async def removed(platform: Platform, name: str, tool: str) -> None:
    """Uninstalled with its data, and nothing of it left."""
    ended = await platform.api.done(await platform.api.uninstall(name, data=True))
    assert ended["state"] == "succeeded", ended["error"]
    await platform.is_gone(tool)


def states(tool: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """State and health of each service."""
    return {each["name"]: (each["state"], each["health"]) for each in tool["services"]}


async def page(tool: Mapping[str, Any], path: str = "") -> str:
    async with httpx.AsyncClient() as client:
        answer = await client.get(tool["urls"][0] + path)
        answer.raise_for_status()
        return answer.text.strip()


def container(platform: Platform, tool: str, service: str, number: int = 1) -> str:
    return f"machete-{platform.instance}-{tool}-{service}-{number}"


async def inside(platform: Platform, name: str, *argv: str) -> tuple[int, str]:
    """The exit code and output of a command in a container, which may have to be carried out more than once.

    Of 720 outputs read from a busy engine 56 were empty, with exit code 0: what came whole ends with a mark.
    """

    def run() -> tuple[int, str]:
        for _ in range(MOST_TRIES):
            made = platform.hand.sdk.exec_create(name, ["sh", "-c", MARKED, "sh", *argv])["Id"]
            whole = ENDED.fullmatch(platform.hand.sdk.exec_start(made).decode())
            if whole is not None:
                return int(whole["code"]), whole["output"]
        raise AssertionError(f"the engine lost the output of {argv} {MOST_TRIES} times")

    return await asyncio.to_thread(run)


async def inspected(platform: Platform, name: str) -> dict[str, Any]:
    return await asyncio.to_thread(platform.hand.sdk.inspect_container, name)
