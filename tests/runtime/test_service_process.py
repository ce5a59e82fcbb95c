"""`python -m services` as a process: signals, exit codes, and what it says when it is called wrongly."""

import asyncio
import json
import os
import resource
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from services import registry
from tests.support.served import TOKEN, until_healthy

ROOT = Path(__file__).parents[2]
PATIENCE = 20


@dataclass
class Running:
    process: Process
    port: int

    async def says(self, *expected: str) -> None:
        """Waits until each of these lines has come, in whatever order."""
        assert self.process.stdout is not None
        waiting = set(expected)
        async with asyncio.timeout(PATIENCE):
            while waiting:
                line = (await self.process.stdout.readline()).decode().strip()
                assert line, f"ended without saying {waiting}"
                waiting.discard(line)

    async def ends(self) -> tuple[int, str, str]:
        async with asyncio.timeout(PATIENCE):
            said, log = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, said.decode(), log.decode()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@asynccontextmanager
async def program(*arguments: str, data: Path, port: int | None = None, **variables: str) -> AsyncGenerator[Running]:
    port = port or free_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MACHETE_")}
    ours = {"MACHETE_DATA": str(data), "MACHETE_PORT": str(port), **variables}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, cwd=ROOT, env={**clean, **ours}, stdout=PIPE, stderr=PIPE
    )
    try:
        yield Running(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


FAKE = "tests.support.services_program"


async def ready(running: Running) -> None:
    await running.says("started one", "started two")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}") as client:
        await until_healthy(client)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    async with program(FAKE, "well", data=tmp_path) as running:
        await ready(running)
        running.process.send_signal(number)
        code, said, log = await running.ends()
    assert code == 0
    assert said.splitlines() == ["left two", "left one"]
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events[-3:] == ["stopping", "stopped", "stopped"]


async def test_a_request_in_flight_is_answered_after_the_signal(tmp_path: Path) -> None:
    async with program(FAKE, "well", data=tmp_path) as running, httpx.AsyncClient() as client:
        await ready(running)
        address = f"http://127.0.0.1:{running.port}/api/v1/slow?seconds=0.5"
        asking = asyncio.create_task(client.get(address, headers={"authorization": f"Bearer {TOKEN}"}))
        await running.says("asked")
        running.process.send_signal(signal.SIGTERM)
        assert (await asking).json() == "done"
        assert (await running.ends())[0] == 0


async def test_more_connections_than_a_shell_allows_keep_nobody_out(tmp_path: Path) -> None:
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with AsyncExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
        try:
            running = await stack.enter_async_context(program(FAKE, "well", data=tmp_path))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
        await ready(running)
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}") as client:
            await until_healthy(client)


async def test_a_second_signal_waits_for_nothing(tmp_path: Path) -> None:
    async with program(FAKE, "stuck", data=tmp_path, MACHETE_STOP_GRACE="3600") as running:
        await ready(running)
        running.process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.5)
        assert running.process.returncode is None
        running.process.send_signal(signal.SIGINT)
        code, said, log = await running.ends()
    assert code == 1
    assert said.splitlines() == ["left one"]
    assert '"what":"two"' in log


async def test_a_signal_that_comes_twice_at_once_is_one_wish_to_stop(tmp_path: Path) -> None:
    async with program(FAKE, "one", data=tmp_path) as running:
        await ready(running)
        running.process.send_signal(signal.SIGTERM)
        running.process.send_signal(signal.SIGTERM)
        code, _, log = await running.ends()
    assert code == 0
    assert "cut off" not in log


async def test_what_does_not_stop_in_time_is_cut_off_and_told(tmp_path: Path) -> None:
    async with program(FAKE, "stuck", data=tmp_path, MACHETE_STOP_GRACE="0.5") as running:
        await ready(running)
        running.process.send_signal(signal.SIGTERM)
        code, said, log = await running.ends()
    assert (code, said.splitlines()) == (1, ["left one"])
    assert "it did not stop in time" in log


async def test_a_service_that_breaks_ends_it_with_the_reason_in_the_log(tmp_path: Path) -> None:
    async with program(FAKE, "broken", data=tmp_path) as running:
        code, said, log = await running.ends()
    assert code == 1
    assert said.splitlines()[-1] == "left one"
    (line,) = [json.loads(line) for line in log.splitlines() if "broke" in json.loads(line)["event"]]
    assert line["what"] == "two"
    assert "ConnectionError: the bus is gone for good" in line["exception"]


async def test_a_taken_port_is_named_and_nothing_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = int(other.getsockname()[1])
        async with program(FAKE, "well", data=tmp_path, port=port) as running:
            code, said, log = await running.ends()
    assert (code, said) == (2, "")
    assert f"port {port} on 127.0.0.1 is taken" in log
    assert "Traceback" not in log


async def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    async with program(FAKE, "well", data=tmp_path, MACHETE_PROT="1") as running:
        code, said, log = await running.ends()
    assert (code, said) == (2, "")
    assert "did you mean MACHETE_PORT?" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--help"], 0), (["--nonsense"], 2)])
async def test_called_without_a_service_it_says_how(tmp_path: Path, arguments: list[str], code: int) -> None:
    async with program("services", *arguments, data=tmp_path) as running:
        ended, _, log = await running.ends()
    assert ended == code
    assert log == f"usage: python -m services NAME...\nservices: {', '.join(registry.known())}\n"


async def test_an_unknown_service_is_answered_with_those_there_are(tmp_path: Path) -> None:
    async with program("services", "gatway", data=tmp_path) as running:
        ended, _, log = await running.ends()
    assert ended == 2
    assert log.startswith(f"there is no service 'gatway'; there are {', '.join(registry.known())}")
