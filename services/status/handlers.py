"""What the status service answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from libs.contracts.envelope import Frozen
from libs.contracts.operations import OperationState
from libs.contracts.problems import Problem
from libs.contracts.queries import Answer, ListOperations, ListTools, Question, ShowOperation, ShowTool
from libs.contracts.source import shown
from libs.contracts.views import OperationView, Page, ToolView
from libs.runtime.bus.failures import Unavailable
from services.status.domain.entries import OperationEntry
from services.status.domain.pages import BadCursor, operation_cursor, operation_place, tool_cursor, tool_place
from services.status.domain.showing import operation_shown, tool_shown
from services.status.lookup import Lookup, Refused
from services.status.ports import Tables, TablesAway, ToolRow, Wanted

Respond = Callable[[Any], Awaitable[Answer[Any]]]


def answering(lookup: Lookup, find: Callable[[Any], Awaitable[Frozen]]) -> Respond:
    """Waits for the question's position, then answers with what is found, or says why not."""

    async def find_then(question: Any) -> Frozen:
        await lookup.up_to(question.position)
        return await find(question)

    return told(find_then)


def told(find: Callable[[Any], Awaitable[Frozen]]) -> Respond:
    """Answers with what is found, or says why not."""

    async def respond(question: Any) -> Answer[Any]:
        try:
            return Answer[Any](result=await find(question))
        except Refused as refused:
            return Answer[Any].model_validate({"status": refused.status, "problem": refused.problem})
        except TablesAway as away:
            return Answer[Any](status=503, problem=Problem(code="database_away", message=f"Ask again soon: {away}."))
        except Unavailable as away:
            problem = Problem(code="bus_unavailable", message=f"Ask again in a moment: {away}.")
            return Answer[Any](status=503, problem=problem)
        except BadCursor as bad:
            return Answer[Any](status=400, problem=Problem(code="cursor_invalid", message=f"Bad cursor: {bad}."))

    return respond


@dataclass(frozen=True)
class Answers:
    lookup: Lookup

    @property
    def tables(self) -> Tables:
        return self.lookup.tables

    def table(self) -> Mapping[type[Question], Respond]:
        return {
            ListTools: answering(self.lookup, self.list_tools),
            ShowTool: answering(self.lookup, self.show_tool),
            ListOperations: answering(self.lookup, self.list_operations),
            ShowOperation: answering(self.lookup, self.show_operation),
        }

    async def list_tools(self, question: ListTools) -> Page:
        found = await self.tables.tools(tool_place(question.after), question.limit + 1)
        page, more = found[: question.limit], found[question.limit :]
        last = page[-1].entry if more else None
        return Page(
            tools=tuple(_view(row) for row in page), next=tool_cursor(last.name, last.id) if last is not None else None
        )

    async def show_tool(self, question: ShowTool) -> ToolView:
        return _view(await self.lookup.tool(question.tool))

    async def list_operations(self, question: ListOperations) -> Page:
        wanted = Wanted(question.tool, _state(question.state), operation_place(question.after))
        found = await self._operations(wanted, question.limit + 1)
        page, more = found[: question.limit], found[question.limit :]
        return Page(
            operations=tuple(operation_shown(entry) for entry in page),
            next=operation_cursor(page[-1].accepted) if more else None,
        )

    async def _operations(self, wanted: Wanted, limit: int) -> Sequence[OperationEntry]:
        """A name nobody ever used is told apart from a tool of which there is nothing to list."""
        if wanted.tool is None:
            return await self.tables.operations(wanted, limit)
        found = await self.lookup.known(lambda: self.tables.operations(wanted, limit))
        if not found and not await self.tables.operations(Wanted(wanted.tool), 1):
            await self.lookup.tool(wanted.tool)
        return found

    async def show_operation(self, question: ShowOperation) -> OperationView:
        if question.wait:
            return operation_shown(await self.lookup.ended(question.operation, question.wait))
        return operation_shown(await self.lookup.operation(question.operation))


def _view(row: ToolRow) -> ToolView:
    return tool_shown(row.entry, row.engine, row.under_way)


def _state(text: str | None) -> OperationState | None:
    if text is None:
        return None
    try:
        return OperationState(text)
    except ValueError:
        allowed = ", ".join(state.value for state in OperationState)
        message = f"{shown(text)} is no state of an operation; there are {allowed}."
        raise Refused(400, "state_invalid", message) from None
