"""What agents may ask over NATS, and that they are answered as over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import nats
import pytest
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from libs.contracts.principals import Principal, Role
from libs.runtime.bus.connecting import servers_of
from services.gateway.adapters.agent_table import AgentAccounts
from services.gateway.adapters.database import Database, file_address
from services.gateway.agents import MAX_BODY
from services.gateway.domain.agents import APART, PREFIX, NoDoor, agent_doors
from services.gateway.domain.roles import NEEDED, may
from tests.gateway.agents import Robot, connected, hired, robot
from tests.gateway.doors import GIT_URL, Door, door, on_both_servers, operation, refused
from tests.gateway.keeper import keeper
from tests.gateway.ledger import Ledger
from tests.support.postgres import PostgresServer
from tests.support.stage import Stage, eventually

ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")
DOORS = agent_doors(NEEDED)
EXAMPLES: dict[str, str] = {"name": "lathe", "id": f"op-{'a' * 26}"}


@pytest.fixture(scope="module")
async def agents(shared_stage: Stage, shared: Door) -> AsyncGenerator[dict[str, Robot]]:
    """One connected agent of each role, by role."""
    async with (
        robot(shared_stage, shared, "of-viewer", "viewer") as viewer,
        robot(shared_stage, shared, "of-operator", "operator") as operator,
        robot(shared_stage, shared, "of-admin", "admin") as admin,
    ):
        yield {"viewer": viewer, "operator": operator, "admin": admin}


def test_every_command_and_query_of_the_http_interface_has_a_door_for_agents():
    """Whatever is added to the table of routes is here too; apart stands only what makes and removes agents."""
    v1 = {route for route in NEEDED if route[1].startswith(PREFIX)}
    apart = {route for route in v1 if route[1].removeprefix(PREFIX).split("/")[0] in APART}
    assert {(each.method, each.path) for each in DOORS.values()} == v1 - apart
    assert {path for _, path in apart} == {"/api/v1/agents", "/api/v1/agents/{name}"}


def test_the_doors_have_the_names_they_were_published_with():
    published = "tools.list tools.show tools.install tools.start tools.stop tools.restart tools.uninstall"
    assert {*published.split(), *["operations.list", "operations.show", "operations.cancel"]} <= set(DOORS)
    assert all(name == door.name for name, door in DOORS.items())


def test_a_route_that_would_have_no_name_or_that_of_another_is_refused():
    unnamed, too_deep = [("PATCH", "/api/v1/tools")], [("POST", "/api/v1/a/b/c/d")]
    twice = [("POST", "/api/v1/tools"), ("POST", "/api/v1/tools/install")]
    for routes in (unnamed, too_deep, twice):
        with pytest.raises(NoDoor):
            agent_doors(routes)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", sorted(DOORS))
async def test_each_role_may_ask_at_each_door_what_it_may_over_http(agents: dict[str, Robot], role: Role, name: str):
    asked = DOORS[name]
    installs = {"git_url": GIT_URL, "name": f"by-{role}"} if name == "tools.install" else {}
    answer = await agents[role].ask(name, installs or {each: EXAMPLES[each] for each in asked.parameters})
    needed = NEEDED[asked.method, asked.path]
    if may(role, needed):
        assert answer.status in (200, 202, 404, 503), answer
    else:
        assert answer.refused(403, "not_allowed")["needed"] == needed


async def as_an_agent(token: str) -> Principal | None:
    return Principal(kind="agent", name="twin", role="admin") if token == "twin" else None


@pytest.mark.parametrize(
    ("name", "method", "path", "fields"),
    [
        ("tools.install", "POST", "/tools", {}),
        ("tools.install", "POST", "/tools", {"git_url": "file:///etc"}),
        ("tools.install", "POST", "/tools", {"git_url": GIT_URL, "colour": "red"}),
        ("tools.install", "POST", "/tools", {"git_url": 5, "start": "perhaps"}),
        ("tools.start", "POST", "/tools/{name}/start", {"name": "nobody"}),
        ("tools.start", "POST", "/tools/{name}/start", {"name": "nobody", "colour": "red"}),
        ("tools.stop", "POST", "/tools/{name}/stop", {"name": "nobody", "now": True}),
        ("tools.restart", "POST", "/tools/{name}/restart", {"name": "Not A Name"}),
        ("tools.restart", "POST", "/tools/{name}/restart", {"name": "x" * 100}),
        ("operations.show", "GET", "/operations/{id}", {"id": "op-1", "wait": 1}),
        ("operations.show", "GET", "/operations/{id}", {"id": f"op-{'a' * 26}", "wait": "long"}),
        ("operations.list", "GET", "/operations", {"state": "asleep", "limit": 0}),
        ("operations.list", "GET", "/operations", {"colour": ["red"]}),
        ("operations.cancel", "POST", "/operations/{id}/cancel", {"id": f"op-{'a' * 26}"}),
    ],
)
async def test_a_refusal_is_the_same_document_at_both_doors(
    shared: Door, agents: dict[str, Robot], name: str, method: str, path: str, fields: dict[str, object]
):
    asked = DOORS[name]
    rest = {key: value for key, value in fields.items() if key not in asked.parameters}
    filled = "/api/v1" + path.format(**fields)
    queried = {key: value for key, value in rest.items() if method == "GET" or key == "now"}
    body = {key: value for key, value in rest.items() if key not in queried}
    query = {key: json.dumps(value) if not isinstance(value, str) else value for key, value in queried.items()}
    over_http = await shared.client.request(
        method, filled, params=query, json=body if body or name == "tools.install" else None
    )
    over_nats = await agents["admin"].ask(name, fields)
    assert 400 <= over_http.status_code < 500
    assert (over_nats.status, over_nats.body) == (over_http.status_code, over_http.json())


async def test_an_accepted_change_is_answered_as_over_http_and_carries_the_agents_name(
    shared_stage: Stage, shared: Door, shared_ledger: Ledger
):
    async with robot(shared_stage, shared, "installer-1", "admin") as agent:
        over_nats = await agent.ask("tools.install", {"git_url": GIT_URL, "name": "by-nats"})
    over_http = (await shared.install(name="by-http")).json()
    assert over_nats.accepted().keys() == over_http.keys()
    assert over_nats.body["operation"].keys() == over_http["operation"].keys()
    assert over_nats.body["operation"]["requested_by"] == "agent:installer-1"
    assert over_nats.headers["Machete-Position"] == str(over_nats.body["position"])
    recorded = await shared_ledger.accepted_once(over_nats.operation)
    assert recorded.requested_by == Principal(kind="agent", name="installer-1", role="admin")


async def test_one_key_is_one_operation_however_often_and_at_whichever_door(
    stage: Stage, gateway: Door, tmp_path: Path, ledger: Ledger
):
    """The same agent over HTTP: at a gateway that knows it by a token."""
    fields = {"git_url": GIT_URL, "name": "keyed"}
    other = tmp_path / "other"
    other.mkdir()
    shared = file_address(gateway.data / "gateway" / "gateway.db")
    async with (
        robot(stage, gateway, "twin", "admin") as twin,
        door(stage, other, authenticate=as_an_agent, gateway_database=shared) as known,
    ):
        first = await twin.ask("tools.install", {**fields, "idempotency_key": "once"})
        again = await twin.ask("tools.install", {**fields, "idempotency_key": "once"})
        headers = {"authorization": "Bearer twin", "idempotency-key": "once"}
        over_http = await known.stranger.post("/api/v1/tools", json=fields, headers=headers)
        assert first.operation == again.operation == operation(over_http)
        changed = await twin.ask("tools.install", {**fields, "ref": "v2", "idempotency_key": "once"})
        changed.refused(422, "idempotency_key_reused")
        people = await gateway.install("once", name="of-a-user")
        assert operation(people) != first.operation
    await ledger.accepted_once(first.operation)


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"{", 400, "malformed_json"),
        (b"\xff\xfe", 400, "malformed_json"),
        (b"[" * 200_000, 400, "malformed_json"),
        (b'{"name": "\\ud800"}', 400, "malformed_text"),
        (b"[1]", 422, "invalid_request"),
        (b'"lathe"', 422, "invalid_request"),
        (b"{}", 422, "invalid_request"),
        (b'{"name": 7}', 422, "invalid_request"),
        (b'{"name": "lathe", "idempotency_key": 7}', 422, "invalid_request"),
        (b'{"name": "lathe", "idempotency_key": ""}', 422, "idempotency_key_invalid"),
        (b'{"name": "lathe", "idempotency_key": "a\\nb"}', 422, "idempotency_key_invalid"),
        (b'{"name": "lathe", "idempotency_key": "\\u00e9"}', 422, "idempotency_key_invalid"),
        (b'{"name": "lathe/../x"}', 422, "tool_name_invalid"),
        (b'{"name": "' + b"x" * MAX_BODY + b'"}', 413, "body_too_large"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused_in_words(
    agents: dict[str, Robot], raw: bytes, status: int, code: str
):
    assert (await agents["operator"].ask("tools.start", raw=raw)).refused(status, code)["detail"]


async def test_a_door_that_is_none_is_refused_and_those_there_are_named(agents: dict[str, Robot]):
    for name in ("tools.explode", "agents.list", "agents.install"):
        assert "tools.restart" in (await agents["admin"].ask(name)).refused(404, "not_found")["detail"]


async def test_more_at_once_than_is_taken_is_said_and_not_kept(stage: Stage, gateway: Door):
    """Nobody answers the gateway's questions here, so that each waits."""
    waiting = {"id": EXAMPLES["id"], "wait": 5}
    async with robot(stage, gateway) as agent, robot(stage, gateway, "calm") as calm:
        asked = asyncio.Event()

        async def never(_: object) -> None:
            asked.set()

        await stage.witness.nats.subscribe("machete.qry.v1.status.operation", cb=never)
        await stage.witness.flush()
        tasks = [asyncio.create_task(agent.ask("operations.show", waiting, timeout=30)) for _ in range(20)]
        done, pending = await asyncio.wait(tasks, timeout=5, return_when=asyncio.FIRST_EXCEPTION)
        turned_away = [task.result() for task in done]
        assert len(turned_away) == 4
        assert {(each.status, each.headers["Retry-After"]) for each in turned_away} == {(429, "1")}
        (await calm.ask("tools.start", {"name": "nobody"})).refused(404, "tool_not_found")
        for task in pending:
            task.cancel()


async def test_an_agent_that_floods_is_sent_away_and_people_are_served(
    stage: Stage, gateway: Door, capfd: pytest.CaptureFixture[str]
):
    async with robot(stage, gateway, "flood", "viewer") as agent:
        gone = asyncio.Event()

        async def flood() -> None:
            reply = f"_INBOX_agent.{agent.name}.x"
            while not gone.is_set():
                try:
                    for _ in range(2000):
                        await agent.client.publish(f"machete.agent.v1.{agent.name}.tools.list", b"x" * 100, reply)
                    await agent.client.flush(5)
                except (NatsError, TimeoutError):
                    await asyncio.sleep(0.05)

        before = agent.client.stats["reconnects"]
        flooding = asyncio.create_task(flood())
        try:
            async with asyncio.timeout(60):
                while agent.client.stats["reconnects"] == before:
                    assert (await gateway.client.get("/api/v1/agents")).status_code == 200
                    await asyncio.sleep(0.1)
        finally:
            gone.set()
            await flooding
        assert "it asks faster than it can be refused" in "".join(capfd.readouterr())
        assert (await gateway.client.get("/api/v1/agents")).status_code == 200


@on_both_servers
async def test_credentials_of_an_agent_that_was_removed_are_worth_nothing(stage: Stage, gateway: Door):
    """Its requests at once, its connection soon after, and it does not come back."""
    credentials = await hired(gateway, "gone")
    async with connected(stage, "gone", credentials) as agent, robot(stage, gateway, "stays") as stays:
        (await agent.ask("tools.start", {"name": "nobody"})).refused(404, "tool_not_found")
        assert (await gateway.client.delete("/api/v1/agents/gone")).status_code == 204
        await eventually(lambda: not agent.client.is_connected, "its connection is ended")
        with pytest.raises((NatsError, OSError)):
            await nats.connect(servers_of(stage.server.url), user_credentials=str(credentials), allow_reconnect=False)
        assert stays.client.is_connected
        (await stays.ask("tools.start", {"name": "nobody"})).refused(404, "tool_not_found")
    # Its name may be given again; its old file is that of nobody all the same.
    async with connected(stage, "gone", await hired(gateway, "gone", folder=gateway.data / "..")) as successor:
        (await successor.ask("tools.start", {"name": "nobody"})).refused(404, "tool_not_found")
    with pytest.raises((NatsError, OSError)):
        await nats.connect(servers_of(stage.server.url), user_credentials=str(credentials), allow_reconnect=False)


async def removed_unseen(data: Path, name: str) -> None:
    """As by a gateway that died before it could do more."""
    database = await Database.opened(file_address(data / "gateway" / "gateway.db"))
    await AgentAccounts(database).remove(name)
    await database.close()


async def test_a_removed_agent_that_is_still_connected_is_refused(stage: Stage, gateway: Door):
    """As when the connection could not be ended: what counts is the account."""
    async with robot(stage, gateway, "lingers") as agent:
        await removed_unseen(gateway.data, "lingers")
        (await agent.ask("tools.start", {"name": "nobody"})).refused(401, "unauthenticated")


async def test_a_gateway_that_starts_sends_away_who_was_removed_before(stage: Stage, tmp_path: Path):
    async with keeper(stage, tmp_path) as first:
        credentials = await hired(first, "left-over")
        async with connected(stage, "left-over", credentials) as agent:
            first.kill()
            await removed_unseen(tmp_path, "left-over")
            assert agent.client.is_connected
            async with keeper(stage, tmp_path):
                await eventually(lambda: not agent.client.is_connected, "its connection is ended")


async def test_while_no_gateway_runs_nobody_answers_and_after_a_kill_the_next_one_does(stage: Stage, tmp_path: Path):
    async with keeper(stage, tmp_path) as first:
        credentials = await hired(first, "patient")
        async with connected(stage, "patient", credentials) as agent:
            (await agent.ask("tools.start", {"name": "nobody"})).refused(404, "tool_not_found")
            first.kill()
            with pytest.raises((NatsTimeout, NoRespondersError)):
                await agent.ask("tools.start", {"name": "nobody"}, timeout=2)
            async with keeper(stage, tmp_path):
                (await agent.ask("tools.start", {"name": "nobody"})).refused(404, "tool_not_found")
                async with connected(stage, "patient", credentials) as again:
                    (await again.ask("tools.start", {"name": "nobody"})).refused(404, "tool_not_found")


async def test_a_wait_is_cut_off_and_answered_when_the_gateway_stops(stage: Stage, tmp_path: Path):
    asked = asyncio.Event()

    async def never(_: object) -> None:
        asked.set()

    await stage.witness.nats.subscribe("machete.qry.v1.status.operation", cb=never)
    await stage.witness.flush()
    async with door(stage, tmp_path) as gateway, AsyncExitStack() as stack:
        agent = await stack.enter_async_context(robot(stage, gateway))
        waiting = asyncio.create_task(agent.ask("operations.show", {"id": EXAMPLES["id"], "wait": 60}, timeout=30))
        await asked.wait()
        outliving = stack.pop_all()
    async with outliving:
        (await waiting).refused(503, "stopping")


@on_both_servers
async def test_an_agent_comes_back_by_itself_after_the_server_was_killed(stage: Stage, gateway: Door):
    """Also if it knocks before the gateway is there again, and is not let in at first."""
    async with robot(stage, gateway, max_reconnect_attempts=-1) as agent:
        (await agent.ask("tools.start", {"name": "nobody"})).refused(404, "tool_not_found")
        await stage.crash()

        async def answered() -> bool:
            try:
                return (await agent.ask("tools.start", {"name": "nobody"}, timeout=1)).status == 404
            except (NatsError, OSError):
                return False

        await eventually(answered, "it is answered again", 60)


async def test_gateways_share_the_requests_and_the_accounts(
    stage: Stage, tmp_path: Path, postgres_url: str, ledger: Ledger
):
    """Two on one PostgreSQL, each with a folder of its own; each request is carried out by one of them."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    async with (
        keeper(stage, folders[0], gateway_database=postgres_url) as one,
        keeper(stage, folders[1], gateway_database=postgres_url) as two,
        robot(stage, one, "shared", "admin") as agent,
    ):
        listed = (await two.client.get("/api/v1/agents")).json()["agents"]
        assert [each["name"] for each in listed] == ["shared"]
        asks = [agent.ask("tools.install", {"git_url": GIT_URL, "name": f"tool-{number}"}) for number in range(12)]
        operations = [each.operation for each in await asyncio.gather(*asks)]
        assert len(set(operations)) == 12
        for each in operations:
            await ledger.accepted_once(each)
        handled = [each.said().count('"agent\'s request"') for each in (one, two)]
        assert sum(handled) == 12
        assert all(handled)


async def test_without_its_database_the_gateway_says_so_and_goes_on_when_it_is_back(
    stage: Stage, tmp_path: Path, postgres: PostgresServer, postgres_url: str
):
    async with (
        door(stage, tmp_path, gateway_database=postgres_url) as gateway,
        robot(stage, gateway) as agent,
    ):
        postgres.terminate()
        try:
            (await agent.ask("tools.start", {"name": "nobody"})).refused(503, "database_away")
            problem = refused(await gateway.client.get("/api/v1/agents"), 503, "database_away")
            assert postgres_url.split(":")[2].split("@")[0] not in json.dumps(problem)
            refused(await gateway.post("/tools/nobody/start"), 404, "tool_not_found")
        finally:
            postgres.start()
        (await agent.ask("tools.start", {"name": "nobody"})).refused(404, "tool_not_found")


async def test_agents_are_added_listed_and_removed_over_http(shared: Door):
    added = await shared.client.post("/api/v1/agents", json={"name": "listed", "role": "viewer"})
    assert added.status_code == 201
    assert added.headers["cache-control"] == "no-store"
    agent = added.json()["agent"]
    assert agent in (await shared.client.get("/api/v1/agents")).json()["agents"]
    seed = added.json()["credentials"].split("-----BEGIN USER NKEY SEED-----\n")[1].split("\n")[0]
    assert seed.startswith("SU")
    everything = b"".join(each.read_bytes() for each in (shared.data / "gateway").iterdir())
    assert agent["key"].encode() in everything
    assert seed.encode() not in everything
    refused(await shared.client.post("/api/v1/agents", json={"name": "listed"}), 409, "agent_exists")
    refused(await shared.client.post("/api/v1/agents", json={"name": "Bad Name"}), 422, "agent_name_invalid")
    refused(await shared.client.post("/api/v1/agents", json={"name": "x", "role": "king"}), 422, "invalid_request")
    assert (await shared.client.delete("/api/v1/agents/listed")).status_code == 204
    refused(await shared.client.delete("/api/v1/agents/listed"), 404, "agent_not_found")


async def test_where_the_gateway_has_no_key_no_agent_is_added(stage: Stage, tmp_path: Path):
    async with door(stage, tmp_path, agents_key=None) as gateway:
        answer: httpx.Response = await gateway.client.post("/api/v1/agents", json={"name": "robot"})
        refused(answer, 503, "agents_unavailable")
        assert (await gateway.client.get("/api/v1/agents")).json() == {"agents": []}
