"""The dead letters that there are: looked through in the order in which they were kept, and taken out one by one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from libs.contracts.envelope import Undecodable, decode
from libs.contracts.letters import DeadLetter
from libs.contracts.streams import COMMANDS, DEAD_LETTERS
from libs.contracts.tools import ToolCommand
from libs.runtime.bus.connection import NO_ANSWER, TIMEOUT, Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.stored import Kept

_ID = re.compile(r"dl-([1-9][0-9]{0,17})")


@dataclass(frozen=True)
class KeptLetter:
    sequence: int
    letter: DeadLetter

    @property
    def id(self) -> str:
        return f"dl-{self.sequence}"

    def command(self) -> ToolCommand:
        """The command that it holds; raises `Undecodable`."""
        if self.letter.stream != COMMANDS.name:
            raise Undecodable(f"it is no command, but came from {self.letter.stream}")
        message = decode(self.letter.payload.encode(errors="surrogatepass"), self.letter.subject_was).data
        if not isinstance(message, ToolCommand):
            raise Undecodable(f"{message.type} is no command")
        return message


class KeptLetters:
    """Every call may raise `Unavailable`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def page(self, after: int, limit: int) -> list[KeptLetter]:
        """The oldest behind this sequence."""
        found: list[KeptLetter] = []
        async for kept in self._bus.each(DEAD_LETTERS, ">", after + 1):
            if (letter := _opened(kept)) is not None:
                found.append(letter)
            if len(found) == limit:
                break
        return found

    async def find(self, id: str) -> KeptLetter | None:
        sequence = sequence_of(id)
        kept = None if sequence is None else await self._bus.at(DEAD_LETTERS, sequence)
        return None if kept is None else _opened(kept)

    async def remove(self, kept: KeptLetter) -> bool:
        """Whether it was there until now."""
        asked = json.dumps({"seq": kept.sequence}).encode()
        try:
            reply = await self._bus.nats.request(f"$JS.API.STREAM.MSG.DELETE.{DEAD_LETTERS.name}", asked, TIMEOUT)
        except NO_ANSWER as problem:
            raise Unavailable(f"no answer from JetStream within {TIMEOUT:g} s: {problem!r}") from problem
        error = json.loads(reply.data).get("error")
        if error is None:
            return True
        # Servers say in different ways that there is nothing to delete.
        if await self._bus.at(DEAD_LETTERS, kept.sequence) is None:
            return False
        raise Unavailable(f"JetStream did not delete it: {error.get('description')}")


def sequence_of(id: str) -> int | None:
    """The place in the stream that an id names, None for what is no id."""
    matched = _ID.fullmatch(id)
    return int(matched[1]) if matched is not None else None


def _opened(kept: Kept) -> KeptLetter | None:
    message = kept.message()
    return KeptLetter(kept.sequence, message) if isinstance(message, DeadLetter) else None
