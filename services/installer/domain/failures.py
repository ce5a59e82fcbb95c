"""What can go wrong while a tool is fetched, as a user will read it."""

from typing import Any

from libs.contracts.source import Refused
from libs.contracts.written import InvalidManifest


class FetchFailed(Exception):
    """`code` is a stable word, `message` one sentence with cause and way out, `detail` what helps besides.

    None of them ever holds a credential.
    """

    def __init__(self, code: str, message: str, detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail

    @classmethod
    def because(cls, cause: Refused | InvalidManifest) -> "FetchFailed":
        problem = cause.problem
        return cls(problem.code, problem.message, problem.detail)
