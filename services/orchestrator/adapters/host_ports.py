"""Who holds which port of the host, and which one a tool may have."""

import asyncio
import re
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from services.orchestrator.adapters.engine import Engine
from services.orchestrator.adapters.inspection import inspect_container
from services.orchestrator.domain.failures import EngineError, PortTaken
from services.orchestrator.domain.names import LABEL_PORT, LABEL_PORTS, container_name, made_by_us
from services.orchestrator.domain.port_choice import NoPortLeft, choose_port

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


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
        holders = [name for name in held.get(port, []) if name != container_name(self.instance, tool)]
        others = {number: names for number, names in held.items() if number != port}
        alternative = await asyncio.to_thread(choose_port, tool, {port, *others}, self._is_free)
        return PortTaken(port, holders[0] if holders else None, alternative)

    async def check(self, project: str, port: int, protocol: str) -> None:
        """Raises PortTaken where anything but a container of this Compose project has the port."""
        held = await self._held()
        holders = held.get(port, [])
        others = [name for name in holders if not name.startswith(f"{project}-")]
        is_ours = not others and bool(await self._running(holders))
        if others or not (is_ours or await asyncio.to_thread(self._is_free, port, protocol)):
            alternative = await asyncio.to_thread(choose_port, project, held, self._is_free)
            raise PortTaken(port, others[0] if others else None, alternative)

    async def _running(self, names: Collection[str]) -> list[str]:
        """Those of the containers that run: a stopped one's port may be somebody else's meanwhile."""
        listed = await self.engine.call("GET", "/containers/json") if names else []
        running = (name.removeprefix("/") for item in listed for name in item["Names"])
        return [name for name in running if name in names]

    async def _held(self) -> dict[int, list[str]]:
        """Ports to the containers that hold them, those that run first.

        A list shows the ports of running containers only. Ours have a label; others are looked into.
        """
        listed: list[Mapping[str, Any]] = await self.engine.call("GET", "/containers/json", {"all": True})
        held: dict[int, list[str]] = {}
        for item in sorted(listed, key=lambda item: item["State"] != "running"):
            for port in await self._ports_of(item):
                held.setdefault(port, []).append(item["Names"][0].removeprefix("/"))
        return held

    async def _ports_of(self, item: Mapping[str, Any]) -> set[int]:
        labels = item.get("Labels") or {}
        ours = labels.get(LABEL_PORTS) or labels.get(LABEL_PORT, "")
        if ours and made_by_us(item["Names"] or (), labels):
            return {int(port) for port in re.findall(r"\b[0-9]{1,5}\b", ours)}
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
