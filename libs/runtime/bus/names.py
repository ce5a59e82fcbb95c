"""Names and ids of tools, each held by one: decided by compare-and-set, whoever asks from wherever.

The bucket is read and written as the stream it is, so that an outage, a full disk and a lost race come
out as they do everywhere else on the bus. A deleted key is one whose last value is empty.
"""

from __future__ import annotations

from dataclasses import dataclass

from libs.contracts.streams import NAMES, Reservation, Stream, id_key, name_key
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Conflict

_BUCKET = Stream(name=f"KV_{NAMES.name}", subjects=(f"$KV.{NAMES.name}.>",), max_bytes=NAMES.max_bytes)


@dataclass(frozen=True)
class Held:
    """Who holds a name, None if nobody does; `revision` is what the next write must expect."""

    reservation: Reservation | None
    revision: int


class Names:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def find(self, name: str) -> Held:
        kept = await self._bus.last(_BUCKET, _subject(name_key(name)))
        if kept is None:
            return Held(None, 0)
        return Held(Reservation.model_validate_json(kept.data) if kept.data else None, kept.sequence)

    async def reserve(self, name: str, reservation: Reservation, revision: int) -> bool:
        """Whether the name is now held like this; False: somebody wrote after `revision`."""
        try:
            await self._bus.put(
                _BUCKET, _subject(name_key(name)), reservation.model_dump_json().encode(), expected=revision
            )
        except Conflict:
            return (await self.find(name)).reservation == reservation
        return True

    async def free(self, name: str, revision: int) -> None:
        """Gives the name back unless somebody wrote after `revision`."""
        try:
            await self._bus.put(_BUCKET, _subject(name_key(name)), None, expected=revision)
        except Conflict:
            return

    async def claim_id(self, tool: str, operation: str) -> bool:
        """Whether this id is the operation's, for ever."""
        subject = _subject(id_key(tool))
        try:
            await self._bus.put(_BUCKET, subject, operation.encode(), expected=0)
        except Conflict:
            kept = await self._bus.last(_BUCKET, subject)
            return kept is not None and kept.data == operation.encode()
        return True


def _subject(key: str) -> str:
    return f"$KV.{NAMES.name}.{key}"
