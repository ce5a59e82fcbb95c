"""The Docker Engine's HTTP interface, without threads.

Each call is one HTTP/1.0 exchange on a connection of its own: over a local socket that costs a tenth of a
millisecond, and an answer of any length, a followed log too, is simply what comes until the connection
ends. Cancelling a call closes its connection, and with it the reader at the engine.
"""

import asyncio
import json
import os
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

from libs.runtime import metrics
from libs.runtime.cancellation import abandon
from services.orchestrator.domain.failures import EngineAway, EngineError, disk_full_sentence, is_about_room

Method = Literal["GET", "POST", "DELETE", "HEAD"]
Query = Mapping[str, str | int | bool | Mapping[str, Any]]

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
PATIENCE = 60.0  # seconds for one call
END_OF_A_CHANGE = 2.0  # seconds that cancelling waits for a change under way
CHUNK = 64 * 1024

_VERBS = frozenset({"create", "json", "kill", "start", "stop", "pause", "unpause", "wait", "prune"})
_NO_PROGRAM = re.compile(
    r'exec: ("[^"]{1,200}"): .*(?:no such file or directory|executable file not found|permission denied)'
)
_CODES = {404: "not_found", 409: "conflict"}


class Engine:
    """`address` as in DOCKER_HOST: `unix://` or `tcp://`, the latter with `tls` where the engine asks for it.

    `client_environment` is what another client, BuildKit's, needs to reach the same engine.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        tls: ssl.SSLContext | None = None,
        client_environment: Mapping[str, str] | None = None,
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("unix", "tcp"):
            raise ValueError(
                f"{address!r} is no engine address: use unix:///path or tcp://host:port "
                "(for ssh, forward the engine's socket with `ssh -N -L`)"
            )
        self.address = address
        self.client_environment = client_environment or {"DOCKER_HOST": address}
        self._parts = parts
        self._tls = tls

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Engine":
        """From DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, as Docker's own client reads them."""
        address = environment.get("DOCKER_HOST") or DEFAULT_ADDRESS
        if not environment.get("DOCKER_TLS_VERIFY"):
            return cls(address)
        certificates = Path(environment.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
        tls = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        tls.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
        reach = {
            "DOCKER_HOST": address,
            "DOCKER_TLS_VERIFY": environment["DOCKER_TLS_VERIFY"],
            "DOCKER_CERT_PATH": str(certificates),
        }
        return cls(address, tls, reach)

    @property
    def is_local(self) -> bool:
        """Whether its containers' addresses and ports are this machine's."""
        return self._parts.scheme == "unix"

    async def call(
        self,
        method: Method,
        path: str,
        query: Query | None = None,
        body: Any = None,
        patience: float | None = PATIENCE,
    ) -> Any:
        """The answer's JSON, or None where it has none. `patience` None waits as long as it takes."""
        answer = await self.read(method, path, query, body, patience)
        try:
            return json.loads(answer) if answer else None
        except ValueError:
            raise EngineAway(f"The Docker Engine broke off its answer to {method} {path}.") from None

    async def must_answer(self) -> None:
        """Raises EngineAway if it does not: what its client failed at is then no failure of the tool's."""
        await self.read("GET", "/_ping", patience=5)

    async def read(
        self,
        method: Method,
        path: str,
        query: Query | None = None,
        body: Any = None,
        patience: float | None = PATIENCE,
    ) -> bytes:
        """The answer as it came. A cancelled change is still waited for, a moment."""
        answering = self._read(method, path, query, body, patience)
        with metrics.engine_call(_kind(method, path)):
            return await (answering if _only_asks(method, path) else _finished(answering))

    async def _read(self, method: Method, path: str, query: Query | None, body: Any, patience: float | None) -> bytes:
        try:
            async with asyncio.timeout(patience), self._exchange(method, path, query, body) as reader:
                return await reader.read()
        except TimeoutError:
            raise EngineAway(f"The Docker Engine did not answer {method} {path} in {patience:g} s.") from None

    async def stream(self, path: str, query: Query | None = None) -> AsyncGenerator[bytes, None]:
        """An endless answer, in chunks as they come; ends when the engine ends it."""
        async with self._exchange("GET", path, query, None) as reader:
            while chunk := await reader.read(CHUNK):
                yield chunk

    async def json_lines(self, path: str, query: Query | None = None) -> AsyncGenerator[Any, None]:
        rest = b""
        async with aclosing(self.stream(path, query)) as chunks:
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)

    @asynccontextmanager
    async def _exchange(
        self, method: Method, path: str, query: Query | None, body: Any
    ) -> AsyncIterator[asyncio.StreamReader]:
        """The answer's body. Raises EngineError for a refusal, EngineAway when the connection is lost."""
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await self._connect()
            writer.write(_request(method, path, query, body))
            status = _status(await reader.readuntil(b"\r\n\r\n"))
            if status >= 400:
                raise _refusal(status, await reader.read())
            yield reader
        except (OSError, EOFError, asyncio.LimitOverrunError) as broken:
            raise self._away(broken) from broken
        finally:
            if writer is not None:
                writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._parts.scheme == "unix":
            return await asyncio.open_unix_connection(self._parts.path, limit=CHUNK)
        port = self._parts.port or (2376 if self._tls else 2375)
        return await asyncio.open_connection(self._parts.hostname, port, ssl=self._tls, limit=CHUNK)

    def _away(self, broken: Exception) -> EngineAway:
        match broken:
            case FileNotFoundError() | ConnectionRefusedError():
                return EngineAway(f"No Docker Engine answers at {self.address}: start it.")
            case PermissionError():
                return EngineAway(f"This user may not use {self.address}: add it to the socket's group.")
            case _:
                return EngineAway(f"The Docker Engine at {self.address} broke off: {broken!r}.")


def path_of(*parts: str) -> str:
    """A path whose parts are names: nothing in them can lead elsewhere."""
    return "/" + "/".join(quote(part, safe=":@") for part in parts)


def _only_asks(method: Method, path: str) -> bool:
    return method in ("GET", "HEAD") or path.endswith("/wait")


async def _finished(change: Coroutine[Any, Any, bytes]) -> bytes:
    """What the engine has begun it ends, whether somebody listens or not.

    A container that came into being after its removal would belong to nobody, so cancelling waits for the end.
    """
    task = asyncio.ensure_future(change)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=END_OF_A_CHANGE)
        await abandon(task)
        raise


def _request(method: Method, path: str, query: Query | None, body: Any) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    target = f"{path}?{_query(query)}" if query else path
    head = (
        f"{method} {target} HTTP/1.0\r\nHost: docker\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode("ascii") + content


def _query(query: Query) -> str:
    def plain(value: str | int | bool | Mapping[str, Any]) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        return json.dumps(value) if isinstance(value, Mapping) else str(value)

    return urlencode({name: plain(value) for name, value in query.items()})


def _status(head: bytes) -> int:
    try:
        return int(head.split(b" ", 2)[1])
    except (IndexError, ValueError):
        raise ConnectionError(f"not an HTTP answer: {head[:60]!r}") from None


def _refusal(status: int, answer: bytes) -> EngineError:
    try:
        message = str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        message = answer.decode("utf-8", "replace").strip() or f"HTTP {status}"
    if command := _NO_PROGRAM.search(message):
        said = f"The tool's command {command[1]} is no program in its image: mend the command in its Dockerfile."
        return EngineError("command_not_found", said, status=status)
    if is_about_room(message):
        return EngineError("disk_full", disk_full_sentence(message), status=status)
    code = _CODES.get(status, "engine_error")
    return EngineError(code, f"The Docker Engine refused: {message}", status=status)


def _kind(method: Method, path: str) -> str:
    """A call's label: its method and the words of its path that are no names, `POST containers start`."""
    words = [word for word in path.strip("/").split("/") if word]
    return " ".join([method, *words[:1], *(words[-1:] if len(words) > 1 and words[-1] in _VERBS else ())])
