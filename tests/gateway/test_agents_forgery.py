"""What a hostile agent can say, hear and make the gateway say: nothing but what is its own. On a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import nats
import nkeys
import pytest
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from libs.contracts.streams import COMMANDS
from libs.runtime import metrics
from libs.runtime.bus.connecting import close, servers_of
from libs.runtime.nats_keys import new_user, user_form
from tests.gateway.agents import hired, robot, said
from tests.gateway.doors import GIT_URL, Door, on_both_servers, operation
from tests.gateway.ledger import Ledger
from tests.support.stage import Stage, eventually

ELSEWHERE = (
    "machete.cmd.v1.tool.lathe-abc234.install",
    "machete.evt.v1.tool.lathe-abc234.engine",
    "$KV.machete_names.name.lathe",
    "$JS.API.STREAM.DELETE.COMMANDS",
    "$JS.API.STREAM.PURGE.EVENTS",
    "$SYS.REQ.USER.AUTH",
    "machete.agent.v1.victim.tools.uninstall",
    "machete.qry.v1.gateway.authenticate",
    "_INBOX_gateway.abc",
    "_INBOX.abc",
    "_INBOX_agent.victim.abc",
    "_INBOX_agent.robot2.abc",
    "_INBOX_agent.robot",
    "_INBOX_agent",
    "",
)
"""Reply subjects that are not below the inbox of the agent `robot`. The last one is none at all."""
WILD = ("_INBOX_agent.robot.*", "_INBOX_agent.robot.>", "_INBOX_agent.*.abc", "_INBOX_agent.robot.a..b")


@dataclass
class Heard:
    """All that is said on the server, as the witness hears it."""

    messages: list[Msg] = field(default_factory=list[Msg])

    def under(self, subject: str) -> list[Msg]:
        return [each for each in self.messages if each.subject == subject]


@pytest.fixture
async def heard(stage: Stage) -> Heard:
    everything = Heard()

    async def hear(message: Msg) -> None:
        everything.messages.append(message)

    listened = ("machete.>", "_INBOX_agent.>", "_INBOX_agent", "_INBOX.>", "$KV.>", "$JS.API.>", "_INBOX_gateway.>")
    for subject in (*listened, "$SYS.REQ.USER.AUTH"):
        await stage.witness.nats.subscribe(subject, cb=hear)
    await stage.witness.flush()
    return everything


def turned_away(reason: str) -> float:
    return metrics.REGISTRY.get_sample_value("machete_agent_turned_away_total", {"reason": reason}) or 0.0


@on_both_servers
@pytest.mark.parametrize("reply", [*ELSEWHERE, *WILD])
async def test_a_reply_subject_that_is_not_the_agents_own_is_not_written_to_and_nothing_is_done(
    stage: Stage, gateway: Door, ledger: Ledger, heard: Heard, reply: str
):
    """The confused deputy. The honest request that follows proves that the other one was dealt with."""
    before = turned_away("reply")
    async with robot(stage, gateway, "robot", "admin") as agent:
        body = json.dumps({"git_url": GIT_URL, "name": "stolen"}).encode()
        await stage.witness.flush()
        heard.messages.clear()
        await agent.client.publish("machete.agent.v1.robot.tools.install", body, reply=reply)
        (await agent.ask("tools.start", {"name": "stolen"})).refused(404, "tool_not_found")
        await stage.witness.flush()
        sent_on = [each for each in heard.under(reply) if each.data != body] if reply else []
        assert sent_on == []
        assert agent.client.is_connected
    assert turned_away("reply") == before + 1
    assert await ledger.commands() == []


async def test_the_connection_that_answers_could_not_write_elsewhere_if_it_wanted(stage: Stage):
    """Below the check stands the server, which lets that user say nothing else."""
    refusals: list[str] = []

    async def hear(problem: Exception) -> None:
        refusals.append(str(problem).lower())

    client = await stage.server.connect("answers", error_cb=hear)
    subjects = [each for each in ELSEWHERE if each and not each.startswith("_INBOX_agent.")]
    for subject in subjects:
        await client.publish(subject, b"?")
    await client.flush()
    await eventually(lambda: len(refusals) == len(subjects), "each is refused")
    assert {subject for subject in subjects if any(f'"{subject.lower()}"' in each for each in refusals)} == set(
        subjects
    )
    await close(client)


async def test_nobody_publishes_in_another_agents_name(stage: Stage, gateway: Door, ledger: Ledger):
    async with robot(stage, gateway, "mallory", "viewer") as mallory, robot(stage, gateway, "victim", "admin"):
        body = json.dumps({"git_url": GIT_URL, "name": "forged"}).encode()
        await mallory.client.publish("machete.agent.v1.victim.tools.install", body, reply="_INBOX_agent.mallory.abc")
        await eventually(lambda: bool(mallory.refusals), "the server refuses it")
        assert "machete.agent.v1.victim.tools.install" in mallory.refusals[0]
        (await mallory.ask("tools.install", json.loads(body))).refused(403, "not_allowed")
    assert await ledger.commands() == []


async def test_who_asks_is_not_what_the_body_says(stage: Stage, gateway: Door, ledger: Ledger):
    async with robot(stage, gateway, "mallory", "admin") as mallory:
        fields = {"git_url": GIT_URL, "name": "honest"}
        for claim in ({"source": "user/admin"}, {"requested_by": "user:admin"}, {"principal": {"name": "admin"}}):
            (await mallory.ask("tools.install", {**fields, **claim})).refused(422, "invalid_request")
        envelope = {"specversion": "1.0", "source": "gateway/abc", "type": "x", "data": fields}
        (await mallory.ask("tools.install", envelope)).refused(422, "invalid_request")
        accepted = await mallory.ask("tools.install", fields)
    assert (await ledger.accepted_once(accepted.operation)).requested_by.label == "agent:mallory"


async def test_headers_that_an_agent_sends_change_nothing(stage: Stage, gateway: Door, ledger: Ledger):
    headers = {"Authorization": "Bearer " + gateway.token, "Idempotency-Key": "theirs", "Machete-Status": "200"}
    async with robot(stage, gateway, "mallory", "viewer") as mallory:
        body = json.dumps({"git_url": GIT_URL}).encode()
        subject = "machete.agent.v1.mallory.tools.install"
        answer = await mallory.client.request(subject, body, timeout=10, headers=headers)
        said(answer).refused(403, "not_allowed")
    assert await ledger.commands() == []


async def test_an_agents_answers_are_heard_by_nobody_else(stage: Stage, gateway: Door):
    async with robot(stage, gateway, "victim") as victim, robot(stage, gateway, "mallory") as mallory:
        overheard: list[Msg] = []

        async def hear(message: Msg) -> None:
            overheard.append(message)

        for subject in ("_INBOX_agent.victim.>", "_INBOX_agent.>", "_INBOX_agent.*.*.*", "_INBOX.>", ">", "*.>"):
            await mallory.client.subscribe(subject, cb=hear)
        await mallory.client.flush()
        await victim.ask("tools.start", {"name": "nobody"})
        await mallory.ask("tools.start", {"name": "nobody"})
        assert all(each.subject.startswith("_INBOX_agent.mallory.") for each in overheard)
        assert len(mallory.refusals) == 6


async def test_an_agent_hears_what_happens_to_tools_and_not_what_they_print(stage: Stage, gateway: Door):
    async with robot(stage, gateway, "listener", "viewer") as listener:
        subjects: list[str] = []

        async def hear(message: Msg) -> None:
            subjects.append(message.subject)

        await listener.client.subscribe("machete.evt.v1.tool.*.operation.*", cb=hear)
        await listener.client.subscribe("machete.log.v1.>", cb=hear)
        await listener.client.flush()
        id = operation(await gateway.install(name="watched"))
        await eventually(lambda: any(each.endswith(id) for each in subjects), "it hears of the operation")
        assert "machete.log.v1.>" in listener.refusals[0]


@on_both_servers
async def test_nobody_connects_without_the_key_of_an_agent_that_there_is(stage: Stage, gateway: Door):
    credentials = await hired(gateway, "robot")
    text = credentials.read_text()
    seed = text.split("-----BEGIN USER NKEY SEED-----\n")[1].split("\n")[0]
    forged = gateway.data / "forged.creds"
    forged.write_text(text.replace(seed, new_user().seed))
    known = stage.server.password("gateway")
    tries: Iterable[dict[str, object]] = (
        {},
        {"user": "robot", "password": "x"},
        {"user": "gateway", "password": known[:-1]},
        {"user": "agent:robot", "password": ""},
        {"token": "robot"},
        {"user_credentials": str(forged)},
        {"nkeys_seed_str": new_user().seed},
    )
    for each in tries:
        with pytest.raises((NatsError, OSError, asyncio.TimeoutError)):
            await nats.connect(servers_of(stage.server.url), allow_reconnect=False, **each)
    # Both ways in which a client shows a key of its own are taken.
    for good in ({"user_credentials": str(credentials)}, {"nkeys_seed_str": seed}):
        door = {"allow_reconnect": False, "inbox_prefix": b"_INBOX_agent.robot"}
        client = await nats.connect(servers_of(stage.server.url), **door, **good)
        assert said(await client.request("machete.agent.v1.robot.tools.start", b"{}", timeout=5)).status == 422
        await close(client)


async def test_the_key_that_the_server_knows_of_lets_nobody_in(stage: Stage, gateway: Door):
    """The server has a user of the issuer's key, to make it send what is to be signed."""
    _, raw = nkeys.decode_seed(stage.issuer.seed.encode())
    seed = nkeys.encode_seed(raw, nkeys.PREFIX_BYTE_USER).decode()
    public: object = nkeys.from_seed(seed.encode()).public_key
    assert public == user_form(stage.issuer.public).encode()
    with pytest.raises((NatsError, OSError)):
        await nats.connect(servers_of(stage.server.url), allow_reconnect=False, nkeys_seed_str=seed)


async def commands_are_kept(stage: Stage) -> bool:
    return (await stage.witness.jetstream.stream_info(COMMANDS.name)).config.name == COMMANDS.name


async def test_streams_stand_after_all_that_an_agent_can_try(stage: Stage, gateway: Door):
    async with robot(stage, gateway, "mallory", "admin") as mallory:
        for what in ("DELETE", "PURGE", "UPDATE", "CREATE"):
            await mallory.client.publish(
                f"$JS.API.STREAM.{what}.{COMMANDS.name}", b"{}", reply="_INBOX_agent.mallory.a"
            )
        await eventually(lambda: len(mallory.refusals) == 4, "each is refused")
    assert await commands_are_kept(stage)
