"""What went wrong, in the one shape that operations, tasks and HTTP answers share."""

from typing import Any

from pydantic import Field

from libs.contracts.envelope import Frozen


class Problem(Frozen):
    """`code` is a stable word for programs, `message` a sentence with cause and way out, `detail` what helps."""

    code: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    message: str
    detail: dict[str, Any] | None = None


class Failure(Exception):
    """What was foreseen to go wrong: an operation in which it is raised ends as failed, and this is said of it."""

    def __init__(self, code: str, message: str, detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail

    @property
    def problem(self) -> Problem:
        return Problem(code=self.code, message=self.message, detail=self.detail)
