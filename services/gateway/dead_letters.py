"""What becomes of a dead letter: looked at, tried once more as a new operation of whoever asks, or dropped.

A letter is taken out after its new operation was accepted. Who dies in between leaves it in the list; the same person's
next retry finds the operation that there is and takes the letter out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

from libs.contracts.envelope import Undecodable
from libs.contracts.letters import LetterDetail, LetterPage, LetterView, letter_links
from libs.contracts.names import new_operation_id
from libs.contracts.principals import Principal
from libs.contracts.source import Refused
from libs.contracts.streams import TASKS
from libs.runtime import metrics
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unavailable
from libs.runtime.bus.kept_letters import KeptLetter, KeptLetters, sequence_of
from libs.runtime.http.problems import Problem
from libs.runtime.logging import get_logger
from services.gateway import problems
from services.gateway.domain import requests
from services.gateway.handlers import Acceptance, Gateway

# Seconds.
PATIENCE = 10.0

log = get_logger(__name__)


def begin_counting() -> None:
    """Each count is shown from 0 on: the first one is a rise, too."""
    for how in ("retried", "dropped"):
        metrics.dead_letters_taken_out.labels(how)


class DeadLetters:
    """Every call raises one of `services.gateway.problems`."""

    def __init__(self, bus: Bus, gateway: Gateway, protocols: Iterable[str]) -> None:
        self._letters = KeptLetters(bus)
        self._gateway = gateway
        self._protocols = frozenset(protocols)

    async def page(self, limit: int, after: str | None) -> LetterPage:
        """The oldest first, behind the letter `after`."""
        begin = 0 if after is None else sequence_of(after)
        if begin is None:
            raise problems.bad_cursor()
        async with _answering():
            found = await self._letters.page(begin, limit + 1)
        shown = found[:limit]
        next = shown[-1].id if len(found) > limit else None
        return LetterPage(letters=tuple(_view(each) for each in shown), next=next)

    async def show(self, id: str) -> LetterDetail:
        kept = await self._found(id)
        view = _view(kept).model_dump()
        return LetterDetail(**view, payload=kept.letter.payload, refusal=_refusal(kept))

    async def retry(self, id: str, by: Principal, key: str | None) -> Acceptance:
        """The new operation. The same key leads to the same one, also when the letter is gone by then."""
        async with _answering():
            kept = await self._letters.find(id)
        if kept is None:
            return await self._repeated(id, by, key)
        request = self._request(kept, by, key)
        try:
            acceptance = await self._gateway.accept(request)
        except Problem as problem:
            raise _in_terms_of(kept.id, request, problem) from problem
        async with _answering():
            await self._letters.remove(kept)
        self._note("retried", kept, by, operation=acceptance.accepted.operation)
        return acceptance

    async def drop(self, id: str, by: Principal) -> None:
        kept = await self._found(id)
        async with _answering():
            removed = await self._letters.remove(kept)
        if not removed:
            raise problems.no_letter(id)
        self._note("dropped", kept, by, reason=kept.letter.reason)

    async def _found(self, id: str) -> KeptLetter:
        async with _answering():
            kept = await self._letters.find(id)
        if kept is None:
            raise problems.no_letter(id)
        return kept

    async def _repeated(self, id: str, by: Principal, key: str | None) -> Acceptance:
        done = None
        if key is not None and sequence_of(id) is not None:
            operation = new_operation_id(by.label, key)
            done = await self._gateway.repeated(operation, requests.Retries.digest(id))
        if done is None:
            raise problems.no_letter(id)
        return done

    def _request(self, kept: KeptLetter, by: Principal, key: str | None) -> requests.Request:
        try:
            command = kept.command()
            # Without a key the letter itself is one: a repetition finds what was begun.
            own = f"{kept.id} given up {kept.letter.given_up_at.isoformat()}"
            return requests.retry(kept.id, command, by, key or own, self._protocols)
        except (Undecodable, Refused) as problem:
            raise problems.not_retryable(kept.id, _refusal(kept) or str(problem)) from problem

    def _note(self, what: str, kept: KeptLetter, by: Principal, **more: str) -> None:
        metrics.dead_letters_taken_out.labels(what).inc()
        log.info(f"dead letter {what}", letter=kept.id, principal=by.label, retry_of=kept.letter.operation, **more)


def _view(kept: KeptLetter) -> LetterView:
    letter = kept.letter
    return LetterView(
        id=kept.id,
        stream=letter.stream,
        tool=letter.tool,
        operation=letter.operation,
        subject=letter.subject_was,
        deliveries=letter.deliveries,
        reason=letter.reason,
        given_up_at=letter.given_up_at,
        links=letter_links(kept.id),
    )


def _refusal(kept: KeptLetter) -> str | None:
    """Why this letter cannot be retried, whatever there is beside it."""
    if kept.letter.stream == TASKS.name:
        return "it is part of an operation that has ended: repeat what that one was for, and drop the letter"
    try:
        kept.command()
    except Undecodable as problem:
        return f"it cannot be read ({problem}): ask for what it was meant for anew, and drop the letter"
    return None


def _in_terms_of(id: str, request: requests.Request, problem: Problem) -> Problem:
    """Who retries has chosen neither a tool nor a name."""
    if problem.code == "tool_not_found":
        return problems.letter_tool_gone(id, request.tool or request.name)
    if problem.code == "name_taken":
        return problems.letter_name_taken(id, request.name, problem.extra.get("tool"))
    return problem


@asynccontextmanager
async def _answering() -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except (TimeoutError, Unavailable) as problem:
        raise problems.bus_unavailable() from problem
