"""What bad input gets: one sentence each, that names the cause and the way out; and nothing is left half-done."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from nats.js.errors import KeyNotFoundError

from libs.contracts.streams import NAMES, id_key
from tests.e2e.bad_input.bench import Bench, name_of
from tests.e2e.bad_input.case import Case, recorded
from tests.e2e.bad_input.catalogue import CASES
from tests.e2e.bad_input.trying import Tried, bench_in, try_all
from tests.support.platform_checks import nothing_waits
from tests.support.platform_tools import exits, fails_to_build, web
from tests.support.platform_waiting import until

# The first test waits for all cases.
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Day:
    """All cases were tried; `before` is what there was when they began."""

    bench: Bench
    before: Mapping[str, Any]
    tried: Tried


@pytest.fixture(scope="module")
async def day(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Day]:
    async with bench_in(tmp_path_factory.mktemp("bad")) as bench:
        before = await everything(bench)
        yield Day(bench, before, await try_all(bench))
        assert bench.platform.complaints() == []


async def everything(bench: Bench) -> Mapping[str, Any]:
    """All that one platform has: on the engine, on disk, in its lists; and the neighbour."""
    data = bench.platform.data
    return {
        "engine": await bench.platform.hand.seen(),
        "folders": sorted(path.name for folder in ("tools", "fetches") for path in (data / folder).iterdir()),
        "tools": [tool["id"] for tool in (await bench.platform.api.get("/api/v1/tools"))["tools"]],
        "names": await names_taken(bench),
        "neighbour": await bench.untouched(),
    }


async def names_taken(bench: Bench) -> list[str]:
    """The keys of the names that tools hold; one that was given back leaves a mark, which is no name.

    Ids are never used again, so of each tool that was meant to be there one stays.
    """
    stream = f"KV_{NAMES.name}"
    info = await bench.platform.bus.jetstream.stream_info(stream, subjects_filter=">")
    names = await bench.platform.bus.jetstream.key_value(NAMES.name)
    taken: list[str] = []
    for subject in info.state.subjects or {}:
        key = subject.removeprefix(f"$KV.{NAMES.name}.")
        if key.startswith(id_key("")):
            continue
        try:
            await names.get(key)
        except KeyNotFoundError:
            continue
        taken.append(key)
    assert len(taken) > 1, "there is the neighbour's name, and the instance's own key"
    return sorted(taken)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_is_wrong_is_said_in_one_sentence_with_the_way_out(day: Day, case: Case) -> None:
    wrong = day.tried.wrong.get(case.name)
    if wrong is not None:
        raise AssertionError(f"{case.name}: {wrong}") from wrong
    said, came = case.said, day.tried.came[case.name]
    assert came
    for each in came:
        assert (each.status, each.code) == (said.status, said.code), each
        assert said.fits(each.text), f"recorded is\n  {said.sentence}\nand what came is\n  {each.text}"
        assert each.text.isprintable()
        assert "s3cret" not in each.text
        assert not case.shows or any(case.shows in line for line in each.lines), each.lines


async def test_nothing_is_left_of_all_that_and_the_neighbour_noticed_nothing(day: Day) -> None:
    await nothing_waits(day.bench.platform)
    assert day.tried.wrong == {}
    assert await everything(day.bench) == day.before


async def test_what_is_refused_at_the_door_is_not_stored(day: Day) -> None:
    before, after = day.tried.stored
    assert before
    assert after == before


async def test_no_secret_of_an_address_is_in_a_log(day: Day) -> None:
    assert "s3cret" not in day.bench.platform.processes["machete"].said()


def test_each_case_has_a_sentence_and_each_sentence_a_case() -> None:
    names = [case.name for case in CASES]
    assert sorted(names) == sorted(set(names))
    assert sorted(recorded()) == sorted(names)


async def test_a_failed_build_is_told_step_by_step_and_the_name_can_be_used_again(day: Day) -> None:
    bench, api = day.bench, day.bench.platform.api
    install = await bench.accepted(fails_to_build(), start=True)
    ended = await api.done(install)
    assert [(step["name"], step["state"]) for step in ended["steps"]] == [
        ("fetch", "succeeded"),
        ("build", "failed"),
        ("remove", "succeeded"),
    ]
    logged = await api.all_lines(f"/api/v1/operations/{install.operation}/log")
    assert any("the reason is" in line["text"] for line in logged)
    assert any(ended["error"]["message"] in line["text"] for line in logged)
    await bench.platform.is_gone(install.tool)
    again = await bench.succeeds(await api.install(name_of(install), bench.publish(web())))
    assert again.tool != install.tool
    await bench.succeeds(await api.uninstall(name_of(again)))


async def test_a_failed_start_is_told_step_by_step(day: Day) -> None:
    bench, api = day.bench, day.bench.platform.api
    install = await bench.accepted(exits(3), start=True)
    ended = await api.done(install)
    assert [(step["name"], step["state"]) for step in ended["steps"]] == [
        ("fetch", "succeeded"),
        ("build", "succeeded"),
        ("start", "failed"),
    ]
    await bench.succeeds(await api.uninstall(name_of(install)))


async def test_health_tells_everybody_and_needs_no_token(day: Day) -> None:
    async def ready() -> bool:
        answer = await day.bench.platform.api.client.get("/api/health", headers={"Authorization": ""})
        return answer.status_code == 200 and answer.json()["ready"]

    await until(ready, "health says that the platform is ready")
