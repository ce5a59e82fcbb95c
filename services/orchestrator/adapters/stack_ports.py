"""Which ports of the host the services of a stack have, and whether they are to be had."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.orchestrator.adapters.host_ports import HostPorts
from services.orchestrator.domain.stacks.ports import Published, published, web
from services.orchestrator.domain.stacks.stack import Config, Stack, part


@dataclass(frozen=True)
class StackPorts:
    """What is run of a stack is its `compose.json`: the ports that were chosen stand in it."""

    host: HostPorts

    async def check_insisted(self, stack: Stack, config: Config) -> None:
        """Is every port there that the Compose file names, which are to be had in no other way? Raises `PortTaken`."""
        for each in published(config):
            if each.wanted is not None:
                await self.host.check(stack.project, each.wanted, each.protocol)

    async def check_chosen(self, stack: Stack, run: Config) -> None:
        """Is every port there that was chosen for what is `run`? Raises `PortTaken`."""
        for _, port in _ports_in(run):
            await self.host.check(stack.project, int(port["published"]), port["protocol"])

    async def choose(
        self, stack: Stack, config: Config, before: Config, front_port: int | None
    ) -> dict[Published, int]:
        """The same ones as in what was run `before`; else those it insists on; else free ones.

        `front_port` is that of what people open, if the tool has one already.
        """
        had = {(name, port["target"], port["protocol"]): int(port["published"]) for name, port in _ports_in(before)}
        found: dict[Published, int] = {}
        front = _front(stack, config)
        for each in _all(stack, config):
            port = each.wanted or had.get((each.service, each.target, each.protocol))
            if each == front and front_port is not None:
                port = front_port
            name = f"{stack.tool}/{each.service}/{each.target}"
            found[each] = port or await self.host.free(name, set(found.values()))
        return found


def provisional(stack: Stack, config: Config) -> dict[Published, int]:
    """Which ports they will be does not matter to what is built."""
    return {each: each.wanted or 1 for each in _all(stack, config)}


def _all(stack: Stack, config: Config) -> set[Published]:
    """Also the one that people open, which the Compose file need not publish."""
    front = _front(stack, config)
    return published(config) | ({front} if front else set())


def _front(stack: Stack, config: Config) -> Published | None:
    return web(config, stack.manifest.service, stack.manifest.port)


def _ports_in(run: Config) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each with its service."""
    for name, service in part(run, "services").items():
        for port in service.get("ports") or ():
            yield name, port
