"""What can go wrong while a tool is fetched, as a user will read it."""

from libs.contracts.problems import Failure
from libs.contracts.source import Refused
from libs.contracts.written import InvalidManifest


class FetchFailed(Failure):
    """None of them ever holds a credential."""

    @classmethod
    def because(cls, cause: Refused | InvalidManifest) -> "FetchFailed":
        problem = cause.problem
        return cls(problem.code, problem.message, problem.detail)
