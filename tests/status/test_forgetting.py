"""The tables do not grow for ever: what the stream has let go of goes from the lists as well, while all is running."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.contracts.queries import ListOperations, ListTools
from libs.contracts.streams import EVENTS
from libs.contracts.views import OperationView
from services.status import forgetting
from tests.status.service import Running, status_service
from tests.status.stories import Operation, tool
from tests.support.stage import eventually, staged


async def test_operations_that_the_stream_let_go_of_are_no_longer_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "EVERY", 0.2)
    async with staged() as stage, status_service(stage, tmp_path) as status:
        install, stop = Operation(), Operation("stop")
        await status.say(install.accepted())
        fence = await status.say(install.started())
        await status.say(install.succeeded(fence, tool()))
        first = await status.say(stop.accepted())
        assert {each.id for each in await operations(status, first)} == {install.id, stop.id}
        await stage.witness.jetstream.purge_stream(EVENTS.name, seq=first)

        async def only_the_kept() -> bool:
            return [each.id for each in await operations(status, first)] == [stop.id]

        await eventually(only_the_kept, "what is no longer kept is no longer listed", within=60.0)
        assert [each.name for each in (await status.ask(ListTools())).tools] == ["sample"]


async def operations(status: Running, position: int) -> tuple[OperationView, ...]:
    return (await status.ask(ListOperations(position=position))).operations
