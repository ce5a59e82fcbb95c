"""Messages as a stream keeps them, without one."""

from collections.abc import Sequence

from libs.contracts.envelope import Message, envelop
from libs.runtime.bus.stored import Kept


def kept(message: Message, sequence: int) -> Kept:
    return Kept(sequence, message.subject, envelop(message, "test").encode())


def stored(messages: Sequence[Message], first: int = 1) -> list[Kept]:
    """One after the other, from this sequence on."""
    return [kept(message, sequence) for sequence, message in enumerate(messages, first)]
