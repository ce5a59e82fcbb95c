"""One who asks has no more than so many live connections and logs open, and others do not notice."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from services.status.domain.open_streams import OpenStreams, TooManyOpen
from tests.status.service import Running, status_service
from tests.status.stories import Operation
from tests.support.platform_waiting import until
from tests.support.stage import staged


@pytest.fixture(scope="module")
async def status(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Running]:
    data = tmp_path_factory.mktemp("data")
    async with staged() as stage, status_service(stage, data, streams_per_principal=3) as running:
        yield running


async def test_the_next_is_refused_until_one_is_closed(status: Running) -> None:
    install = Operation(name="lathe")
    await status.say(install.accepted())
    await status.say(install.started())
    log = f"/api/v1/operations/{install.id}/log"

    async def answered() -> httpx.Response | None:
        response = await status.http.client.get(log)
        return response if response.status_code == 200 else None

    async with AsyncExitStack() as held:
        await held.enter_async_context(status.live("tools"))
        await held.enter_async_context(status.live("states"))
        await held.enter_async_context(status.http.client.stream("GET", log, params={"follow": "true"}))
        refused = await status.http.client.get(log)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        assert "user:admin has 3 live connections and logs open" in refused.json()["detail"]
        assert int(refused.headers["Retry-After"]) > 0
        with pytest.raises(InvalidStatus) as closed:
            await held.enter_async_context(status.live("tools"))
        assert closed.value.response.status_code == 429
        assert json.loads(closed.value.response.body)["code"] == "too_many_streams"
    await until(answered, "there is room again")
    for _ in range(4):  # an answer that is complete is not open any more
        assert (await status.http.client.get(log)).status_code == 200


async def test_what_is_refused_for_another_reason_takes_no_place(status: Running) -> None:
    for _ in range(5):
        with pytest.raises(InvalidStatus) as refused:
            async with status.live("logs:nobody"):
                pass
        assert refused.value.response.status_code == 404
        assert (await status.http.client.get("/api/v1/tools/nobody/logs")).status_code == 404


def test_each_has_places_of_his_own() -> None:
    streams = OpenStreams(1)
    with streams.held("user:ada"):
        with streams.held("agent:watchman"), pytest.raises(TooManyOpen, match="agent:watchman has 1"):
            streams.held("agent:watchman").__enter__()
        with pytest.raises(TooManyOpen, match="user:ada has 1"):
            streams.held("user:ada").__enter__()
    with streams.held("user:ada"):
        pass
