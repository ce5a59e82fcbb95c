"""What a worker must do next with an operation, decided from its record alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from libs.contracts.operations import OperationEnded
from libs.runtime.bus.records import Record


@dataclass(frozen=True)
class Settle:
    """It has ended: make sure that all that follows from the end is done, then acknowledge."""

    ended: OperationEnded
    sequence: int


class Move(Enum):
    """`ACCEPT`: the gateway did not get to it. `CANCEL`: nothing was begun, end it. `BEGIN`: take it on.
    `RECOVER`: it failed or crashed too often; only clean up. `GIVE_UP`: not even that came to an end."""

    ACCEPT = "accept"
    CANCEL = "cancel"
    BEGIN = "begin"
    RECOVER = "recover"
    GIVE_UP = "give up"


def next_move(record: Record, max_attempts: int) -> Settle | Move:
    """Total over every record that can exist; a crash after any append leads back here."""
    if record.ended is not None:
        return Settle(record.ended, record.ended_at)
    if not record.entries:
        return Move.ACCEPT
    if record.cancel is not None and not record.starts:
        return Move.CANCEL
    attempts = len(record.starts)
    if attempts < max_attempts:
        return Move.BEGIN
    return Move.RECOVER if attempts == max_attempts else Move.GIVE_UP


class Standing(Enum):
    """How the owner of a fence stands, by what the record says now."""

    OWNER = "owner"
    CANCELLED = "cancelled"
    FENCED_OFF = "fenced off"


def standing(record: Record, fence: int) -> Standing:
    if record.ended is not None or record.fence != fence:
        return Standing.FENCED_OFF
    return Standing.CANCELLED if record.cancel is not None else Standing.OWNER


class Turn(Enum):
    """`PAST`: the command is no longer stored, so it is done. `HOLD`: an older one of the tool is."""

    MINE = "mine"
    HOLD = "hold"
    PAST = "past"


def turn(head: int | None, mine: int) -> Turn:
    """Whose turn it is in a tool's lane; `head` is the sequence of the first command still stored."""
    if head is None or head > mine:
        return Turn.PAST
    return Turn.MINE if head == mine else Turn.HOLD
