"""What the orchestrator's handlers need of an engine, in their own terms.

Every call may raise `EngineAway` (nothing is known of what happened; the same call later is safe) or
`EngineError` (the engine refused). All calls that change something are idempotent.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from libs.contracts.tools import Tool
from services.orchestrator.domain.engine_events import EngineEvent
from services.orchestrator.domain.log_frames import LogLine, LogPosition
from services.orchestrator.domain.observations import Observation
from services.orchestrator.domain.specs import BuildSpec, BuiltImage, ContainerSpec


@dataclass(frozen=True)
class Placed:
    """Where a tool's container is. `host_port` is the one on 127.0.0.1 that the tool keeps.

    `created` and `started` say what the call had to do for it.
    """

    container_id: str
    host_port: int | None
    created: bool
    started: bool


@dataclass(frozen=True)
class Removed:
    """Names of what was removed, of what was left because somebody else uses it, and of the volumes kept as data."""

    containers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


class Child(Protocol):
    def lines(self) -> AsyncIterator[str]:
        """Standard output and error as one, line by line."""
        ...

    async def wait(self) -> int:
        """The exit code."""
        ...


class Children(Protocol):
    def run(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, alive: Callable[[], bool]
    ) -> AbstractAsyncContextManager[Child]:
        """Runs a child; leaving the context, or `alive()` being false, ends it and all its descendants."""
        ...


def always() -> bool:
    return True


@asynccontextmanager
async def at_once(log: Callable[[list[str]], Awaitable[None]]) -> AsyncGenerator[None]:
    """A `Slot` that nobody waits for."""
    yield


# One of the places that bound how many builds run at once: entered when it is free, in the order of asking. `log` is
# told what is waited for.
Slot = Callable[[Callable[[list[str]], Awaitable[None]]], AbstractAsyncContextManager[None]]


Guard = Callable[[], Awaitable[None]]
"""Whether to go on with what takes its time: raises if not."""


async def unguarded() -> None:
    return


class Builder(Protocol):
    async def build(
        self, spec: BuildSpec, log: Callable[[list[str]], Awaitable[None]], alive: Callable[[], bool] = always
    ) -> BuiltImage:
        """Build the image, or find that it is built. `log` gets lines as they are written, several at a time.

        Raises BuildFailed. Cancelling the task, or `alive()` being false, ends the build.
        """
        ...


class Containers(Protocol):
    async def prepare(self, spec: ContainerSpec) -> Placed:
        """Make network, folders and the container, stopped, so that `start` is a single step."""
        ...

    async def start(self, spec: ContainerSpec) -> Placed:
        """See that a container of this spec runs: one of another spec makes way.

        One that runs already stays untouched. Raises PortTaken. It is not ready yet: see `ready`.
        """
        ...

    async def ready(self, spec: ContainerSpec, placed: Placed) -> None:
        """Wait until it answers as the spec says. Raises ToolExited and NotReady.

        Either way the container stays as it is.
        """
        ...

    async def stop(self, tool: str, timeout: float = 10.0, guard: Guard = unguarded) -> Observation:
        """Stop all containers of the tool, killing what has not ended after `timeout` seconds.

        `guard` is asked before each wave of them, the first included; what it raises is passed on, and the rest runs.
        """
        ...

    async def remove(
        self, tool: str, *, images: bool = True, data: bool = False, renamed: bool = True, guard: Guard = unguarded
    ) -> Removed:
        """Remove all that is the tool's own, half-made or broken; its volumes with `data` only.

        Without `renamed` a container under a name that we do not give stays: it may be somebody's copy.
        `guard` is asked before each kind of it, containers first; what it raises is passed on, and the rest stays.
        """
        ...

    async def observe(self, tool: str) -> Observation:
        """No services: nothing of the tool is on the engine."""
        ...

    async def observe_all(self) -> dict[str, Observation]:
        """By tool id, of all tools that have containers."""
        ...

    async def orphans(self, known: Collection[str]) -> dict[str, Observation]:
        """Of our containers, those of tools that are not known."""
        ...

    async def owning(self) -> set[str]:
        """The ids of tools that have a container, by its own name, a network or an image here.

        Volumes may outlive their tool.
        """
        ...


class Runner(Protocol):
    """One kind of tool: how a release of it becomes something that runs.

    Its containers carry the labels that `Containers` knows all tools by, so that observing, stopping and
    removing them is the same for every kind.
    """

    async def build(
        self, tool: Tool, log: Callable[[list[str]], Awaitable[None]], alive: Callable[[], bool] = always
    ) -> Tool:
        """The tool with its images on the engine and named in its release. What is built already is found so.

        Raises BuildFailed, and a `Failure` for what the release may not do or cannot have.
        """
        ...

    async def prepare(self, tool: Tool, alive: Callable[[], bool] = always) -> None:
        """Make networks, folders and containers, stopped. What runs stays untouched."""
        ...

    async def start(self, tool: Tool, alive: Callable[[], bool] = always, *, wait: bool = True) -> bool:
        """See that it runs, and wait until it answers as its manifest says; whether anything had to be started.

        Raises PortTaken, ToolExited and NotReady; either way what came up stays as it is.
        """
        ...


class Pace(Protocol):
    """How fast a log has to be read."""

    def is_late(self, at: int) -> bool:
        """Whether reading, having come to what was printed at this time (nanoseconds), lags behind."""
        ...

    def is_hurried(self) -> bool:
        """Whether more is read than can be carried."""
        ...


class AtLeisure:
    def is_late(self, at: int) -> bool:
        return False

    def is_hurried(self) -> bool:
        return False


AT_LEISURE = AtLeisure()


class Feed(Protocol):
    """What the engine says by itself. Nothing here reconnects: each ends with the connection."""

    async def ping(self) -> str:
        """The engine's version."""
        ...

    async def now(self) -> int:
        """What its clock shows, in nanoseconds since 1970: its events and logs have their times by that one."""
        ...

    def events(self, since: int | None = None) -> AsyncGenerator[EngineEvent, None]:
        """Events of our containers from now on, and before them those since an instant by the engine's clock.

        The instant (nanoseconds) is included. From now on means all, even where that clock is set back meanwhile.
        The engine remembers only its last few hundred events and forgets them when it restarts, so observe
        all tools after each connection. Raises EngineAway when the engine is gone.
        """
        ...

    def follow_logs(
        self, container_id: str, after: LogPosition | None = None, pace: Pace = AT_LEISURE
    ) -> AsyncGenerator[list[LogLine], None]:
        """Lines as they are written, several at a time, from the beginning or exactly after a position.

        While it is late and hurried lines are passed over, all but the last; the next one given says how many.
        What the engine keeps no longer when it is read is told by a line of its own, `NOT_KEPT`.
        Ends when the container stops. Close it (`aclosing`) to leave no reader at the engine.
        """
        ...

    async def tail_logs(self, container_id: str, count: int) -> list[LogLine]:
        """The last lines, oldest first."""
        ...


class Workshop(Protocol):
    """The tools' folders on disk."""

    async def source(self, tool: Tool) -> Path:
        """The unpacked source of the tool's release; fetched when it is not there yet. Raises BundleRefused."""
        ...

    async def remove(self, tool: str, *, data: bool) -> Path | None:
        """Remove all releases, and with `data` the tool's own files too; the folder of those that stay."""
        ...


@dataclass(frozen=True)
class Unreadable:
    """A folder that was made for a tool, of which nothing can be told, and why."""

    tool: str
    folder: str
    problem: str


@dataclass(frozen=True)
class KeptFound:
    """The tools that were not uninstalled, as their last records left them."""

    tools: tuple[Tool, ...]
    unreadable: tuple[Unreadable, ...]


class KeptTools(Protocol):
    """What is known of each tool, kept beside its releases."""

    async def put(self, tool: Tool) -> None:
        """Unless it has no folder any more."""
        ...

    async def forget(self, tool: str) -> None: ...

    async def all(self) -> KeptFound: ...
