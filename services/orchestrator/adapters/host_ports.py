"""Who holds which port of the host, and which one a tool may have."""

import asyncio
import re
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from services.orchestrator.adapters.engine import Engine
from services.orchestrator.adapters.inspection import inspect_container
from services.orchestrator.adapters.listing import UP, Listed, made_by_us
from services.orchestrator.domain.failures import EngineError, PortTaken
from services.orchestrator.domain.names import LABEL_INSTANCE, LABEL_PORT, LABEL_PORTS, LABEL_TOOL, container_name
from services.orchestrator.domain.port_choice import NoPortLeft, choose_port

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@dataclass(frozen=True)
class Holder:
    """A container that has a port. `name` is None while it is being removed.

    `project` is the tool's that it is one of, by whatever name; None: we did not make it.
    """

    name: str | None
    project: str | None
    is_up: bool


@dataclass(frozen=True)
class HostPorts:
    engine: Engine
    instance: str

    async def free(self, tool: str, besides: Collection[int] = ()) -> int:
        """A port that no container holds, a stopped one neither, nor another process; none of `besides`."""
        held = {*await self._held(), *besides}
        try:
            return await asyncio.to_thread(choose_port, tool, held, self._is_free)
        except NoPortLeft as none:
            raise EngineError("no_port", f"{none}.") from none

    async def taken(self, tool: str, port: int) -> PortTaken:
        """Why the tool cannot have its port."""
        held = await self._held()
        others = _others(held.get(port, []), container_name(self.instance, tool))
        alternative = await asyncio.to_thread(choose_port, tool, {port, *held}, self._is_free)
        return PortTaken(port, others[0].name if others else None, alternative)

    async def check(self, project: str, port: int, protocol: str) -> None:
        """Raises PortTaken where anything but a container of this Compose project has the port."""
        held = await self._held()
        holders = held.get(port, [])
        others = _others(holders, project)
        # A stopped one's port may be somebody else's meanwhile.
        is_ours = not others and any(each.is_up for each in holders)
        if others or not (is_ours or await asyncio.to_thread(self._is_free, port, protocol)):
            alternative = await asyncio.to_thread(choose_port, project, held, self._is_free)
            raise PortTaken(port, others[0].name if others else None, alternative)

    async def _held(self) -> dict[int, list[Holder]]:
        """Ports to the containers that hold them, those that run first.

        A list shows the ports of running containers only. Ours have a label; others are looked into.
        """
        listed: list[Listed] = await self.engine.call("GET", "/containers/json", {"all": True})
        ours = await made_by_us(self.engine, [item for item in listed if LABEL_TOOL in (item["Labels"] or {})])
        held: dict[int, list[Holder]] = {}
        for item in sorted(listed, key=lambda item: item["State"] != "running"):
            holder = _holder(item, item["Id"] in ours)
            for port in await self._ports_of(item, holder):
                held.setdefault(port, []).append(holder)
        return held

    async def _ports_of(self, item: Listed, holder: Holder) -> set[int]:
        labels = item["Labels"] or {}
        said = labels.get(LABEL_PORTS) or labels.get(LABEL_PORT, "")
        if said and holder.project is not None:
            return {int(port) for port in re.findall(r"\b[0-9]{1,5}\b", said)}
        if item["State"] == "running":
            return {port["PublicPort"] for port in item.get("Ports") or () if "PublicPort" in port}
        details = await inspect_container(self.engine, item["Id"])
        if details is None:
            return set()
        bindings = (details["HostConfig"].get("PortBindings") or {}).values()
        ports = (binding.get("HostPort") or "" for choices in bindings for binding in choices or ())
        return {int(port) for port in ports if port.isdigit()}

    def _is_free(self, port: int, protocol: str = "tcp") -> bool:
        """On another machine's engine only its start can tell."""
        if not self.engine.is_local:
            return True
        with socket.socket(socket.AF_INET, _KINDS[protocol]) as probe:
            if protocol == "tcp":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
        return True


def _holder(item: Listed, ours: bool) -> Holder:
    labels = item["Labels"] or {}
    project = container_name(labels.get(LABEL_INSTANCE, ""), labels.get(LABEL_TOOL, ""))
    name = next((name.removeprefix("/") for name in item["Names"] or ()), None)
    return Holder(name, project if ours else None, item["State"] in UP)


def _others(holders: Iterable[Holder], project: str) -> list[Holder]:
    return [each for each in holders if each.project != project]
