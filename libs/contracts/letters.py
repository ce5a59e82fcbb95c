"""What could not be handled, kept with its reason."""

from datetime import datetime

from libs.contracts.envelope import Message
from libs.contracts.names import OperationId, Token
from libs.contracts.subjects import DEAD_LETTER

PAYLOAD_BYTES = 64 * 1024


class DeadLetter(Message):
    """A message as it came, where, and why it was given up.

    `payload` is its text, undecodable bytes escaped, of the first `PAYLOAD_BYTES`. `tool` is `unknown` where the
    subject names none.
    """

    type = "machete.dlq.dead-letter.v1"
    subject_form = DEAD_LETTER
    stream: Token
    tool: Token
    subject_was: str
    sequence: int
    deliveries: int
    reason: str
    operation: OperationId | None = None
    payload: str
    given_up_at: datetime
