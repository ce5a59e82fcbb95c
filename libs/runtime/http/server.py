"""The HTTP server itself: uvicorn, told when to stop by us and by nobody else."""

import asyncio
import errno
import socket as sockets
from collections.abc import Generator
from contextlib import contextmanager
from socket import socket
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from libs.runtime.settings import Settings

_LARGEST_FRAME = 1024 * 1024
# Seconds. Whoever is at the other end of a WebSocket is asked now and then whether he is there, and has to say so.
PING_EVERY = 20.0
PONG_WITHIN = 20.0
_LAST_WORD = 1.0


class PortTaken(Exception):
    """The address cannot be listened on; the text says why and what to do."""


def listen(host: str, port: int) -> socket:
    """A bound socket, so that a port somebody else has is known before anything is started."""
    family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
    sock = sockets.socket(family, sockets.SOCK_STREAM)
    try:
        sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise PortTaken(_why(host, port, error)) from error
    return sock


def address(sock: socket) -> str:
    """Where the socket listens, as a URL."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _why(host: str, port: int, error: OSError) -> str:
    other = "choose another one with MACHETE_PORT=… (`machete up --port …`)"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by another process: stop that one, or {other}"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} may not be used by this user: {other}, above 1023"
    return (
        f"{host} port {port} cannot be listened on ({error.strerror}): set MACHETE_HOST to an address of this machine"
    )


class _WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's, but for who does not answer: what was still to be sent to him keeps nobody here.

    And whoever is told in an answer why there is no WebSocket for him is no error of ours to log.
    """

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.loop.call_later(_LAST_WORD, self.transport.abort)


class HttpServer(uvicorn.Server):
    """Listens on `sock` until `stop()`; then requests in flight get half of the grace to end."""

    def __init__(self, app: ASGIApp, sock: socket, settings: Settings) -> None:
        proxies = list(settings.trusted_proxies)
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws=_WebSocket,
            ws_ping_interval=PING_EVERY,
            ws_ping_timeout=PONG_WITHIN,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies,
            # Frames are small and many; compressing each costs more than the loopback or the proxy gains.
            ws_per_message_deflate=False,
            ws_max_size=_LARGEST_FRAME,
        )
        # Declared as whole seconds, used as a number of them.
        config.timeout_graceful_shutdown = cast(Any, settings.stop_grace / 2)
        super().__init__(config)
        self._sock = sock
        self.url = address(sock)
        self._stopping = asyncio.Event()
        self.listening = asyncio.Event()

    async def serve(self, sockets: list[socket] | None = None) -> None:
        await super().serve(sockets or [self._sock])

    def stop(self) -> None:
        self._stopping.set()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        """Wakes once a second, for the header Date alone, in place of ten times."""
        while not self._stopping.is_set() and not await self.on_tick(0):
            try:
                async with asyncio.timeout(1.0):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Signals are the process's business: `serve()` handles them for all its services."""
        yield
