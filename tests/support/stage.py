"""A provisioned NATS server with the services' own users, and one more who may say and see everything."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from libs.contracts.permissions import Permissions, permissions
from libs.runtime.bus.connecting import connect
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.provision import provision
from libs.runtime.nats_keys import Issuer, new_issuer
from tests.support.nats_server import NatsServers, running_servers

WITNESS = "witness"
USERS = {**permissions(), WITNESS: Permissions(publish=(">",), subscribe=(">",))}
WITHIN = 20.0


async def eventually(holds: Callable[[], Awaitable[bool] | bool], what: str, within: float = WITHIN) -> None:
    """Returns as soon as it holds."""
    give_up = time.monotonic() + within
    while True:
        held = holds()
        if held if isinstance(held, bool) else await held:
            return
        assert time.monotonic() < give_up, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.02)


class Stage:
    """`witness` says what services say, and looks at what they do. `issuer` signs which agents may connect."""

    witness: Bus

    def __init__(self, server: NatsServers, stack: AsyncExitStack, issuer: Issuer) -> None:
        self.server = server
        self.issuer = issuer
        self._stack = stack

    async def bus(self, user: str) -> Bus:
        """A connection of this service's user, until the stage is struck."""
        return await self._stack.enter_async_context(self.connected(user))

    def connected(self, user: str) -> AbstractAsyncContextManager[Bus]:
        password = self.server.password(user)
        return connect(self.server.url, user=user, password=password, service=user, source=f"{user}/test")

    async def readers(self, stream: str) -> list[str]:
        """The names of the consumers that a stream has now."""
        # For one that is just being made or deleted the servers of a cluster wait for one another, longer than 2 s.
        jetstream = self.witness.nats.jetstream(timeout=WITHIN)
        return [info.name for info in await jetstream.consumers_info(stream) if info.name]

    async def has_readers(self, stream: str, count: int) -> None:
        """Returns when the stream has this many."""

        async def counted() -> bool:
            return len(await self.readers(stream)) == count

        await eventually(counted, f"{stream} has {count} readers")

    async def crash(self) -> None:
        """kill -9 of the server, and started again on the same store."""
        await self.server.kill()
        await self.server.start()


@asynccontextmanager
async def staged(version: str = "newest") -> AsyncGenerator[Stage]:
    issuer = new_issuer()
    running = running_servers(version, users=USERS, issuer=issuer.public)
    async with running as server, AsyncExitStack() as stack:
        stage = Stage(server, stack, issuer)
        await provision(await stage.bus("platform"), ack_wait=10.0)
        stage.witness = await stage.bus(WITNESS)
        yield stage
