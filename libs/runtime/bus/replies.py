"""Requests whose answers come back over one subscription, each found by a number.

nats-py's own requests do the same at twice the cost: a random name, a wrapped wait and a task for each. Everything
on the bus that is acknowledged or read goes through here, several times for each command.
"""

# nats-py leaves the types of its keyword parameters open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import itertools

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

NO_RESPONDERS = "503"


class Replies:
    def __init__(self, connection: Client) -> None:
        self._nats = connection
        self._inbox = ""
        self._numbers = itertools.count()
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._listening = asyncio.Lock()

    async def ask(self, subject: str, payload: bytes, timeout: float, headers: dict[str, str] | None = None) -> bytes:
        """The answer. Raises nats-py's `TimeoutError` after `timeout` seconds, `NoRespondersError` at once, and
        `OutboundBufferLimitError` where so much waits for a connection that there is no room for more.
        """
        if not self._inbox:
            await self._listen()
        loop = asyncio.get_running_loop()
        number = str(next(self._numbers))
        answer: asyncio.Future[bytes] = loop.create_future()
        self._waiting[number] = answer
        timer = loop.call_later(timeout, _too_late, answer)
        try:
            await self._nats.publish(subject, payload, reply=f"{self._inbox}.{number}", headers=headers)
            return await answer
        finally:
            timer.cancel()
            del self._waiting[number]

    async def _listen(self) -> None:
        async with self._listening:
            if not self._inbox:
                inbox = self._nats.new_inbox()
                await self._nats.subscribe(f"{inbox}.*", cb=self._arrive)
                self._inbox = inbox

    async def _arrive(self, message: Msg) -> None:
        answer = self._waiting.get(message.subject.rpartition(".")[2])
        if answer is None or answer.done():
            return  # too late: whoever asked has asked again, or does without
        if not message.data and (message.headers or {}).get("Status") == NO_RESPONDERS:
            answer.set_exception(NoRespondersError())
        else:
            answer.set_result(message.data)


def _too_late(answer: asyncio.Future[bytes]) -> None:
    if not answer.done():
        answer.set_exception(NatsTimeout())
