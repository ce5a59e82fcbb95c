"""What could not be handled, kept with its reason."""

from datetime import datetime

from libs.contracts.envelope import Frozen, Message
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


class LetterView(Frozen):
    """A dead letter in a list. `subject` is where the message was published, `deliveries` how often it was tried.

    `tool` is `unknown` where the subject names none, `operation` None where the message names none.
    """

    id: str
    stream: str
    tool: str
    operation: str | None
    subject: str
    deliveries: int
    reason: str
    given_up_at: datetime
    links: dict[str, str]


class LetterDetail(LetterView):
    """A dead letter, whole. `refusal` says why it cannot be retried, None if nothing in itself speaks against it."""

    payload: str
    refusal: str | None


class LetterPage(Frozen):
    """`next` is the cursor of the following page, None on the last."""

    letters: tuple[LetterView, ...] = ()
    next: str | None = None


def letter_links(id: str) -> dict[str, str]:
    own = f"/api/v1/dead-letters/{id}"
    return {"self": own, "retry": f"{own}/retry"}
