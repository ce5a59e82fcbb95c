"""What asking NATS may come to, where it comes to nothing."""

from __future__ import annotations

from libs.contracts.problems import Problem


class Unavailable(Exception):
    """NATS, or the service asked, did not answer in the time that the caller had patience for."""


class Conflict(Exception):
    """Somebody else wrote to the subject first."""


class Refused(Exception):
    """The stream takes no more: it, or the disk beneath it, is full. The text is the server's."""


class TooManyWaiting(Refused):
    """As many messages wait, in all, as the stream takes."""


class TooManyOfSubject(TooManyWaiting):
    """As many messages wait under this very subject as the stream takes of one."""


class Unanswerable(Exception):
    """A question that was answered with a problem."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(problem.message)
        self.status = status
        self.problem = problem


def refusal_of(description: str) -> Refused:
    """The server has one error code for all of them; 2.10 has it for a full disk too."""
    if "maximum messages per subject" in description:
        return TooManyOfSubject(description)
    return TooManyWaiting(description) if "maximum messages" in description else Refused(description)
