"""What JetStream answers: where it put a message, and what it keeps."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import structlog
from nats.js.errors import APIError

from libs.contracts.envelope import Envelope, Message, Undecodable, decode

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Stored:
    """Where the stream put a message; `duplicate`: it had it already, there."""

    sequence: int
    duplicate: bool


@dataclass(frozen=True)
class Kept:
    """A message as a stream keeps it."""

    sequence: int
    subject: str
    data: bytes

    def open(self) -> Envelope[Message]:
        return decode(self.data, self.subject)

    def message(self) -> Message | None:
        """None for what cannot be read: it is logged and passed over, for no stored message may end a process."""
        try:
            return self.open().data
        except Undecodable as problem:
            log.error("a stored message cannot be read", subject=self.subject, sequence=self.sequence, why=str(problem))
            return None


def answer_of(reply: bytes) -> dict[str, Any]:
    """What JetStream said. Raises `APIError`."""
    answer: dict[str, Any] = json.loads(reply)
    if "error" in answer:
        APIError.from_error(answer["error"])
    return answer


def kept_of(reply: bytes) -> Kept:
    """The message alone: nats-py would parse its headers too, which takes half of the time."""
    message = answer_of(reply)["message"]
    return Kept(message["seq"], message["subject"], base64.b64decode(message.get("data", "")))
