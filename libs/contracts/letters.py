"""What could not be handled, kept with its reason."""

from datetime import datetime

from libs.contracts.envelope import Message
from libs.contracts.names import OperationId, Token
from libs.contracts.subjects import DEAD_LETTER


class DeadLetter(Message):
    """A message as it came (`payload`: its text, undecodable bytes escaped), where, and why it was given up."""

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
