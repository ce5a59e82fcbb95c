"""Whether a name that is held may be given to somebody else."""

from collections.abc import Sequence
from dataclasses import dataclass

from libs.contracts.operations import OperationEnded, Recorded
from libs.contracts.streams import Reservation

# A gateway that reserved a name publishes its command within a second, or gives up after `accept_patience`.
DEAD_AFTER = 60.0


@dataclass(frozen=True)
class Findings:
    """About the tool that a name is held for, looked up in this order, so that an end in between is not missed:
    whether commands are waiting for it, the record of its install, whether it exists."""

    waiting: bool
    record: Sequence[Recorded]
    exists: bool


def is_abandoned(reservation: Reservation, found: Findings, now: float) -> bool:
    """Nobody will ever use this name or give it back. `now` in seconds, as in the reservation.

    Either the gateway died between reserving it and publishing its command, or the install came to
    nothing and the name was reserved again by a late repetition of it.
    """
    if found.waiting or found.exists:
        return False
    if found.record:
        return any(isinstance(event, OperationEnded) for event in found.record)
    return now - reservation.reserved_at > DEAD_AFTER
