"""Whose token it is, asked of the gateway by a status service that runs without one beside it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from libs.contracts.principals import Principal
from libs.contracts.queries import AuthenticateToken
from libs.runtime.bus.connection import Bus
from libs.runtime.bus.failures import Unanswerable, Unavailable
from libs.runtime.http.problems import Problem

BELIEVED = 5.0
MOST = 1000
LONGEST = 512


@dataclass
class Tellers:
    """What the gateway said is believed for `BELIEVED` seconds; no token is kept, only its digest."""

    bus: Callable[[], Bus]
    clock: Callable[[], float] = time.monotonic
    _said: dict[bytes, tuple[float, Principal | None]] = field(
        default_factory=dict[bytes, tuple[float, Principal | None]]
    )

    async def authenticate(self, token: str) -> Principal | None:
        """Raises `Problem` (503) while nobody can tell."""
        if not 0 < len(token) <= LONGEST:
            return None
        digest = hashlib.sha256(token.encode()).digest()
        said = self._said.get(digest)
        if said is not None and self.clock() - said[0] < BELIEVED:
            return said[1]
        principal = await self._ask(token)
        if len(self._said) >= MOST:
            self._said.clear()
        self._said[digest] = (self.clock(), principal)
        return principal

    async def _ask(self, token: str) -> Principal | None:
        try:
            return await self.bus().ask(AuthenticateToken(token=token), Principal)
        except Unanswerable as answer:
            if answer.status in (401, 404):
                return None
            raise Problem.of(answer.problem, answer.status) from answer
        except Unavailable as problem:
            raise Problem(503, "gateway_away", "Nobody can tell who you are", str(problem)) from problem
