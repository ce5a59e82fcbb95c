"""Questions that services answer by core request/reply, and the shape of every answer.

`position` is what a 202 carried: the answer waits until the projection has seen it.
"""

from __future__ import annotations

from typing import ClassVar, Generic, Literal, TypeVar

from pydantic import Field

from libs.contracts.envelope import Frozen, Message
from libs.contracts.principals import Principal
from libs.contracts.problems import Problem
from libs.contracts.subjects import QUERY, Subject
from libs.contracts.views import Descriptions, LastLines, OperationView, Page, RebuildView, ToolView

MAX_WAIT = 60.0
MAX_LINES = 1000


class Question(Message):
    """`answered_with` is the model of a good answer's `result`."""

    answered_with: ClassVar[type[Frozen]]


def _subject(service: str, question: str) -> Subject:
    return Subject(QUERY.build({"service": service, "question": question}))


class ListTools(Question):
    """Tools by name; `after` is the cursor of the page before."""

    type = "machete.query.list-tools.v1"
    subject_form = _subject("status", "tools")
    answered_with = Page
    limit: int = Field(default=100, ge=1, le=500)
    after: str | None = None
    position: int | None = None


class ShowTool(Question):
    """One tool, by name or id."""

    type = "machete.query.show-tool.v1"
    subject_form = _subject("status", "tool")
    answered_with = ToolView
    tool: str = Field(max_length=64)
    position: int | None = None


class DescribeTools(Question):
    """Tools by name, or the one of this name or id, with what their manifests say; as many as fit in an answer."""

    type = "machete.query.describe-tools.v1"
    subject_form = _subject("status", "descriptions")
    answered_with = Descriptions
    tool: str | None = Field(default=None, max_length=64)
    after: str | None = None
    position: int | None = None


class ReadLastLines(Question):
    """The last lines that a tool (name or id) printed; of very long ones fewer, so that they fit in an answer."""

    type = "machete.query.read-last-lines.v1"
    subject_form = _subject("status", "lines")
    answered_with = LastLines
    tool: str = Field(max_length=64)
    lines: int = Field(default=100, ge=0, le=MAX_LINES)
    position: int | None = None


class ListOperations(Question):
    """Operations, newest first; of one tool (name or id), in one state, if asked for."""

    type = "machete.query.list-operations.v1"
    subject_form = _subject("status", "operations")
    answered_with = Page
    tool: str | None = Field(default=None, max_length=64)
    state: str | None = None
    limit: int = Field(default=100, ge=1, le=500)
    after: str | None = None
    position: int | None = None


class ShowOperation(Question):
    """One operation; with `wait`, up to so many seconds for its end."""

    type = "machete.query.show-operation.v1"
    subject_form = _subject("status", "operation")
    answered_with = OperationView
    operation: str = Field(max_length=64)
    wait: float = Field(default=0, ge=0, le=MAX_WAIT)
    position: int | None = None


class RebuildTables(Question):
    """Make the status tables anew, beside those that are shown; the answer is how that begins, or how far one is."""

    type = "machete.query.rebuild-tables.v1"
    subject_form = _subject("status", "rebuild")
    answered_with = RebuildView
    requested_by: Principal


class ShowRebuild(Question):
    """How far it has come. Only the last one is kept."""

    type = "machete.query.show-rebuild.v1"
    subject_form = _subject("status", "rebuilding")
    answered_with = RebuildView
    rebuild: str = Field(max_length=64)


class AuthenticateToken(Question):
    """Whose token this is: asked of the gateway by the services that have an HTTP edge of their own."""

    type = "machete.query.authenticate-token.v1"
    subject_form = _subject("gateway", "authenticate")
    answered_with = Principal
    token: str = Field(min_length=1, max_length=512)


Result = TypeVar("Result", bound=Frozen | Principal)


class Answer(Frozen, Generic[Result]):
    """Either `result` or `problem`; `status` is what HTTP would say."""

    status: Literal[200, 400, 401, 404, 409, 422, 503, 504] = 200
    result: Result | None = None
    problem: Problem | None = None
