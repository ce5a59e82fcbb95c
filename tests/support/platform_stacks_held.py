"""Stacks that stand still in the middle of a step until they are let go, and what must be true of them afterwards."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deploy.setup.images import BUSYBOX
from tests.support.platform import Platform
from tests.support.platform_engine import LABEL_INSTANCE, LABEL_TOOL, Happened
from tests.support.platform_process import Process, belonging_to
from tests.support.platform_stacks import serves, service, stack, states, waits
from tests.support.platform_tools import Files
from tests.support.platform_waiting import until

UP = ("running", "none")
HEALTHY = ("running", "healthy")
DONE = ("exited", "none")
GO = "while [ ! -e /go/go ]; do sleep 0.05; done"
GO_FOLDER = ["./go:/go"]
HEALTHY_ON_GO = {
    "test": ["CMD", "test", "-e", "/go/go"],
    "interval": "0.2s",
    "start_period": "100s",
    "start_interval": "0.2s",
}


def builds_at(gate: str, url: str) -> Files:
    """Its one image waits for `gate`."""
    dockerfile = f'FROM {BUSYBOX}\nADD {url}/{gate} /gate\nCMD ["sleep", "5000"]\n'
    gated = {"build": ".", "init": True}
    return stack({"web": serves("built", ports=["8080"]), "gated": gated}, files={"Dockerfile": dockerfile})


def comes_up_on_go() -> Files:
    """`compose up` waits for its job, and that for `go`."""
    done = {"job": {"condition": "service_completed_successfully"}}
    return stack({"job": service(GO, volumes=GO_FOLDER), "web": serves("up", ports=["8080"], depends_on=done)})


def healthy_on_go() -> Files:
    """All of it runs at once; only then is it waited for."""
    slow = waits(volumes=GO_FOLDER, healthcheck=HEALTHY_ON_GO)
    return stack({"slow": slow, "web": serves("healthy", ports=["8080"])})


def ends_on_go() -> Files:
    """Asked to end, its first one leaves a file `asked` and waits for `go`; its last one is asked after that."""
    script = f"trap 'touch /go/asked; {GO}; exit 0' TERM; while :; do sleep 5000 & wait $!; done"
    first = {**service(script), "volumes": GO_FOLDER, "stop_grace_period": "60s", "depends_on": ["last"]}
    first["command"] = ["sh", "-c", script.replace("$", "$$")]
    return stack({"first": first, "last": waits()})


def of_many(services: int = 8) -> Files:
    """Takes a while to be made, and to be taken away."""
    many = {f"s{number}": waits(volumes=[f"v{number}:/v"], networks=["one", "two"]) for number in range(services)}
    web = serves("many", ports=["8080"])
    many["writer"] = service("touch /data/mine && sleep 5000 & wait $!", volumes=["./data:/data"], user="1234:2345")
    volumes = dict.fromkeys((f"v{number}" for number in range(services)), None)
    return stack({**many, "web": web}, volumes=volumes, networks={"one": None, "two": None})


def go_folder(platform: Platform, tool: str) -> Path:
    return platform.folder_of(tool) / "data" / "go"


def go(platform: Platform, *tools: str) -> None:
    for tool in tools:
        (go_folder(platform, tool) / "go").touch()


def stay(platform: Platform, tool: str) -> None:
    """The next one waits for `go` again."""
    for name in ("go", "asked"):
        (go_folder(platform, tool) / name).unlink(missing_ok=True)


def children(platform: Platform) -> dict[int, str]:
    """What services started: Git, Compose, BuildKit's client, and their watchdogs; by pid, with their words."""
    services = {process.pid for process in platform.processes.values() if process.alive}
    return {pid: words for pid, words in belonging_to(platform.data).items() if pid not in services}


def composing(platform: Platform, tool: str, what: str) -> set[int]:
    """Pids of Compose's that does `what` (`build`, `create`, `up`) to a tool, and of its watchdog."""
    return {pid for pid, words in children(platform).items() if tool in words and f" {what} " in f"{words} "}


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def parent_among(processes: Iterable[Process], pids: Iterable[int]) -> Process:
    """Whose children these are."""
    parents = {parent_of(pid) for pid in pids}
    (found,) = (process for process in processes if process.alive and process.pid in parents)
    return found


async def no_child_is_left(platform: Platform) -> None:
    try:
        await until(lambda: not children(platform), "no child process is left", 10)
    except AssertionError:
        raise AssertionError(f"left: {children(platform)}") from None


def no_file_is_left(platform: Platform) -> None:
    """That a child was to have."""
    scratch = [name for name in os.listdir(platform.data / "buildx") if name.startswith(("tmp", "scratch-"))]
    assert not scratch, f"left in the folder of Compose: {scratch}"
    assert not list((platform.data / "fetches").glob("fetch-*"))


def made(platform: Platform, kind: str, tool: str) -> bool:
    """Whether the engine has a `container` or a `network` of the tool."""
    mine = {"label": f"{LABEL_TOOL}={tool}"}
    sdk = platform.hand.sdk
    return bool(sdk.networks(filters=mine) if kind == "network" else sdk.containers(all=True, filters=mine))


async def nothing_is_astray(platform: Platform) -> None:
    """All that is called like something of the instance is there once, and belongs by its labels to a tool there is.

    Compose finds what is its own by other labels than the platform does.
    """
    found = await asyncio.to_thread(_everything, platform)
    for kind, things in found.items():
        twice = [name for name, count in Counter(name for name, _ in things).items() if count > 1]
        assert not twice, f"{kind} twice: {twice}"
        for name, labels in things:
            assert labels.get(LABEL_INSTANCE) == platform.instance, f"{kind} {name} is nobody's: {labels}"
            recorded = await platform.recorded(labels[LABEL_TOOL])
            assert recorded is not None, f"{kind} {name} is of a tool that never was: {labels}"
            assert recorded.state is not None, f"{kind} {name} is of a tool that is gone: {labels}"


def _everything(platform: Platform) -> dict[str, list[tuple[str, dict[str, str]]]]:
    sdk, prefix = platform.hand.sdk, f"machete-{platform.instance}-"
    found = {
        "container": [(each["Names"][0][1:], each["Labels"]) for each in sdk.containers(all=True)],
        "network": [(each["Name"], each["Labels"] or {}) for each in sdk.networks()],
        "volume": [(each["Name"], each["Labels"] or {}) for each in sdk.volumes()["Volumes"] or []],
    }
    return {kind: [each for each in things if prefix in each[0]] for kind, things in found.items()}


async def shown_as_it_is(platform: Platform, name: str, wanted: str, services: Mapping[str, tuple[str, str]]) -> None:
    """The state and each service's, as the API shows them, and as the engine has them."""
    tool: dict[str, Any] = await platform.api.tool(name)
    assert (tool["state"], states(tool)) == (wanted, dict(services)), tool
    assert await asyncio.to_thread(_on_engine, platform, tool["id"]) == dict(services)


def _on_engine(platform: Platform, tool: str) -> dict[str, tuple[str, str]]:
    sdk = platform.hand.sdk
    listed = sdk.containers(all=True, filters={"label": f"{LABEL_TOOL}={tool}"})
    inspected = [sdk.inspect_container(each["Id"]) for each in listed]
    return {
        each["Config"]["Labels"]["io.machete.service"]: (
            each["State"]["Status"],
            (each["State"].get("Health") or {}).get("Status", "none"),
        )
        for each in inspected
    }


def once(happened: Iterable[Happened], action: str, tool: str) -> Counter[str]:
    """How often it happened to each container of the tool."""
    return Counter(each.container for each in happened if (each.action, each.tool) == (action, tool))
