"""What users are told of a stack that cannot be had or does not come up: which service, why, and the way out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.platform import Platform
from tests.support.platform_api import Refusal
from tests.support.platform_checks import fresh
from tests.support.platform_stacks import did, failed, removed, serves, service, stack, states, waits
from tests.support.platform_tools import Files

FAILS_TO_BUILD = "ARG BASE_IMAGE\nFROM $BASE_IMAGE\nRUN echo the reason && exit 7\n"
NEVER = {"test": ["CMD-SHELL", "echo I feel bad; exit 1"], "interval": "1h", "start_interval": "1h"}
AT_ONCE = {"test": ["CMD-SHELL", "echo I feel bad; exit 1"], "interval": "1s", "retries": 1}


@dataclass(frozen=True)
class Case:
    """`told` are words of the sentence, `line` one of the last lines that come with it."""

    files: Files
    code: str
    told: tuple[str, ...]
    line: str | None = None


def broken(text: str) -> Files:
    return {"compose.yaml": text.encode()}


def after(service: str, condition: str) -> Mapping[str, Any]:
    return {service: {"condition": f"service_{condition}"}}


# Nothing of these is there afterwards.
NEVER_INSTALLED = {
    "a build that fails": Case(
        stack({"good": waits(), "bad": {"build": "."}}, files={"Dockerfile": FAILS_TO_BUILD}),
        "build_failed",
        ("bad", "RUN echo the reason && exit 7"),
        "the reason",
    ),
    "an image that nobody has": Case(
        stack({"good": waits(), "bad": {"image": "machete-nowhere.invalid/none:1"}}),
        "image_not_pulled",
        ("The image of bad could not be pulled", "check its name in the Compose file"),
    ),
    "a service that asks for too much": Case(
        stack({"bad": waits(privileged=True)}), "policy_refused", ("services.bad.privileged: ", "leave it out")
    ),
    "a folder of the host": Case(
        stack({"bad": waits(volumes=["/etc:/host"])}), "policy_refused", ("services.bad.volumes[0]", "/etc")
    ),
    "a file that is no YAML": Case(broken("services:\n  bad: [\n"), "compose_invalid", ("compose.yaml:3: ",)),
    "a key that Compose does not know": Case(
        broken("services:\n  bad:\n    imago: x\n"), "compose_invalid", ("services.bad", "imago")
    ),
    "a dependency that is not there": Case(
        stack({"bad": waits(depends_on=["none"])}), "compose_invalid", ('"bad" depends on undefined service "none"',)
    ),
    "a file of variables that is broken": Case(
        stack({"bad": waits()}, files={".env": 'A=1\nCOMPOSE_FILE=x\nB="open\n'}),
        "compose_invalid",
        ("failed to read .env: line ", "unterminated"),
    ),
    "a front that is not there": Case(
        stack({"good": waits()}, {"service": "bad", "port": 80}), "service_unknown", ("bad", "has: good")
    ),
    "a port that several would have": Case(
        stack({"bad": serves("x", ports=["8080"], deploy={"replicas": 2})}), "port_shared", ("bad", "2 replicas")
    ),
}

# These stay, failed, and nothing of them runs.
NEVER_UP = {
    "a service that ends at once": Case(
        stack({"good": waits(), "bad": service("echo my last words; exit 3")}),
        "exited",
        ("bad ended with exit code 3",),
        "my last words",
    ),
    "a server that ends well": Case(
        stack({"good": waits(), "bad": service("echo done")}), "exited", ("bad", "must stay in the foreground"), "done"
    ),
    "one that says it is unhealthy": Case(
        stack({"bad": waits(healthcheck=AT_ONCE), "waiting": waits(depends_on=after("bad", "healthy"))}),
        "not_ready",
        ("bad is unhealthy by its own health check", "I feel bad"),
    ),
    "one that is never healthy": Case(
        stack({"bad": waits(healthcheck=NEVER)}, {"readiness_timeout": 2}),
        "not_ready",
        ("not ready within 2 s", "bad is starting", "machete.readiness_timeout"),
    ),
    # `waiting` would wait for `slow` for an hour.
    "a job that fails while others wait": Case(
        stack(
            {
                "bad": service("sleep 1; echo it went wrong; exit 4", restart="no"),
                "slow": waits(healthcheck=NEVER),
                "waiting": waits(depends_on=after("slow", "healthy")),
            }
        ),
        "exited",
        ("bad ended with exit code 4",),
        "it went wrong",
    ),
    "a job that fails and is waited for": Case(
        stack(
            {
                "bad": service("echo it went wrong; exit 4"),
                "waiting": waits(depends_on=after("bad", "completed_successfully")),
            }
        ),
        "exited",
        ("bad ended with exit code 4",),
        "it went wrong",
    ),
    "a front that never answers as it should": Case(
        stack({"bad": serves("x", ports=["8080"]), "good": waits()}, {"health_check": "/no", "readiness_timeout": 2}),
        "not_ready",
        ("bad was not ready within 2 s", "expected 200 from /no", "HTTP 404"),
    ),
    "a command that is not there": Case(
        stack({"bad": {**waits(), "command": ["/no-such-program"]}}), "compose_failed", ("bad", "/no-such-program")
    ),
}


def sentence(case: Case, error: Mapping[str, Any]) -> None:
    assert error["code"] == case.code, error
    for words in case.told:
        assert words in error["message"], error
    assert "\n" not in error["message"]
    assert "/releases/" not in error["message"], error
    if case.line is not None:
        times = sum(case.line in line for line in error["detail"]["log"])
        # Of a run, although the engine may have started it again meanwhile.
        assert times == 1 if case.code == "exited" else times, error


async def test_a_stack_that_cannot_be_had_says_why_and_leaves_nothing(platform: Platform) -> None:
    async def one(case: Case) -> None:
        name, install, error = await failed(platform, case.files)
        sentence(case, error)
        await platform.is_gone(install.tool)
        with pytest.raises(Refusal, match="tool_not_found"):
            await platform.api.tool(name)

    await all_of({what: one(case) for what, case in NEVER_INSTALLED.items()})


async def test_a_stack_that_does_not_come_up_names_the_service_with_its_last_lines_and_stays_installed(
    platform: Platform,
) -> None:
    async def one(case: Case) -> None:
        name, install, error = await failed(platform, case.files)
        sentence(case, error)
        tool = await platform.api.tool(name)
        assert (tool["state"], tool["reason"]) == ("failed", error["message"])
        assert not await platform.hand.running(install.tool)
        ended = await platform.api.done(await platform.api.start(name))
        assert (ended["state"], ended["error"]["code"]) == ("failed", case.code)
        assert not await platform.hand.running(install.tool)
        await removed(platform, name, install.tool)

    await all_of({what: one(case) for what, case in NEVER_UP.items()})


async def all_of(works: Mapping[str, Any]) -> None:
    results = await asyncio.gather(*works.values(), return_exceptions=True)
    wrong = {what: result for what, result in zip(works, results, strict=True) if result is not None}
    assert not wrong, "\n\n".join(f"{what}: {problem!r}" for what, problem in wrong.items())


async def test_a_port_that_is_taken_is_told_before_anything_is_built(platform: Platform) -> None:
    """What is built here fails: where the port is told, nobody had come so far."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        web = {"build": ".", "ports": [f"{port}:80"]}
        _, install, error = await failed(platform, stack({"web": web}, files={"Dockerfile": FAILS_TO_BUILD}))
    assert (error["code"], error["detail"]["port"], error["detail"]["holder"]) == ("port_taken", port, None)
    assert f"use {error['detail']['free']}" in error["message"]
    await platform.is_gone(install.tool)

    holder = fresh("holder")
    first = stack({"web": serves("first", ports=[f"{port}:8080"])})
    held = await platform.api.install(holder, platform.forge.tool(fresh("repo"), first))
    assert (await platform.api.done(held))["state"] == "succeeded"
    assert (await platform.api.tool(holder))["state"] == "stopped"
    _, install, error = await failed(platform, stack({"web": web}, files={"Dockerfile": FAILS_TO_BUILD}))
    assert error["code"] == "port_taken"
    assert held.tool in error["message"]
    await platform.is_gone(install.tool)

    with socket.create_server(("127.0.0.1", port)):
        ended = await platform.api.done(await platform.api.start(holder))
        assert (ended["state"], ended["error"]["code"]) == ("failed", "port_taken"), ended
        assert "another process" in ended["error"]["message"]
    assert states(await did(platform, "start", holder)) == {"web": ("running", "none")}
    await removed(platform, holder, held.tool)
