"""The clients that measure: what counts as an answer, and what a load comes to."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bench.loadgen import BadAnswer, Load, carry_out, whole_answer
from bench.probe import NoAnswer, first_answer, seconds_until_answer

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GOOD = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def serving(serve: Serve) -> AsyncGenerator[int]:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(closing, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def answering(*answers: bytes) -> Serve:
    """Each request gets the next of these, the last one again and again; an empty one hangs up."""
    said = iter(answers)
    last = answers[-1]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            answer = next(said, last)
            if not answer:
                return
            writer.write(answer)
            await writer.drain()
            if b"200" in answer:
                return

    return serve


def status(code: int) -> bytes:
    return f"HTTP/1.1 {code} Fine\r\nContent-Length: 0\r\n\r\n".encode()


async def test_a_port_that_hangs_up_or_says_it_is_not_ready_has_not_answered() -> None:
    asked: list[None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(None)
        await reader.readuntil(b"\r\n\r\n")
        writer.write({1: b"", 2: b"HTTP/1.1 200 OK", 3: status(503)}.get(len(asked), status(200)))

    async with serving(serve) as port:
        await first_answer(port, "/health")
    assert len(asked) == 4


async def test_a_port_that_never_answers_is_named() -> None:
    async with serving(answering(b"")) as port:
        with pytest.raises(NoAnswer, match=f"{port}/health"):
            await first_answer(port, "/health", within=0.1)


async def test_a_start_that_fails_ends_the_waiting() -> None:
    async def begin() -> None:
        raise RuntimeError("no such image")

    async with serving(answering(b"")) as port:
        with pytest.raises(ExceptionGroup) as failed:
            await seconds_until_answer(begin, port, "/")
    assert failed.group_contains(RuntimeError, match="no such image")


async def test_a_load_asks_each_path_once() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                request = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            seen.append(request.split(b" ")[1])
            writer.write(GOOD)

    paths = [f"/{number}" for number in range(50)]
    async with serving(serve) as port:
        outcome = await carry_out(Load(port, paths, connections=4))
    assert sorted(seen) == sorted(path.encode() for path in paths)
    assert (outcome.answers, outcome.others) == (50, {})
    assert 0 < outcome.p50 <= outcome.p99 <= 1000 * outcome.seconds


async def test_an_answer_other_than_the_expected_one_is_counted_with_its_words() -> None:
    problem = b"HTTP/1.1 429 Slow\r\nContent-Length: 4\r\n\r\nbusy"
    async with serving(answering(GOOD, problem, GOOD)) as port:
        outcome = await carry_out(Load(port, ["/"] * 3, connections=1))
    assert outcome.others == {"429 busy": 1}


async def test_a_server_that_hangs_up_is_no_measurement() -> None:
    async with serving(answering(b"")) as port:
        with pytest.raises(BadAnswer, match="hung up"):
            await carry_out(Load(port, ["/"] * 3, connections=1))


def test_an_answer_is_whole_when_its_body_is() -> None:
    assert whole_answer(GOOD[:20]) is None
    assert whole_answer(GOOD[:-1]) is None
    assert whole_answer(GOOD) == (202, len(GOOD))
