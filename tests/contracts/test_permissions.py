"""What each NATS user may say and hear, as a real server enforces it.

A denied publish is silence for whoever published it; the server tells the connection, and that is what is
looked at here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from nats.aio.msg import Msg

from libs.contracts.permissions import permissions
from libs.contracts.schemas import SPEAKERS
from libs.contracts.streams import COMMANDS, DEAD_LETTERS, LOGS, NAMES, SOURCES, STREAMS, TASKS
from libs.runtime.bus.connecting import inbox_prefix
from tests.contracts.samples import SAMPLES
from tests.support.nats_server import NATS_VERSIONS, NatsServers, running_servers
from tests.support.stage import USERS, WITNESS
from tests.support.voice import speaking

SERVICES = ("gateway", "installer", "orchestrator", "status")
STORES = [*(stream.name for stream in STREAMS), f"KV_{NAMES.name}", f"OBJ_{SOURCES.name}"]


@pytest.fixture(scope="module", params=NATS_VERSIONS)
async def server(request: pytest.FixtureRequest) -> AsyncGenerator[NatsServers]:
    async with running_servers(request.param, users=USERS) as server:
        yield server


@pytest.mark.parametrize("user", SERVICES)
async def test_a_service_says_what_it_is_documented_to_say_and_nothing_else(server: NatsServers, user: str):
    """Subjects are what is guarded: whoever may say one message of a subject may say the others there."""
    subjects = {type(sample): sample.subject for sample in SAMPLES}
    allowed = {subjects[kind] for kind, (senders, _) in SPEAKERS.items() if user in senders}
    async with speaking(server, user) as voice:
        assert await voice.refused_of(subjects.values()) == set(subjects.values()) - allowed


@pytest.mark.parametrize("user", SERVICES)
async def test_a_service_hears_nothing_that_is_meant_for_others(server: NatsServers, user: str):
    others = [f"{inbox_prefix(each)}.>" for each in USERS if each != user]
    questions = {"gateway": "machete.qry.v1.gateway.*", "status": "machete.qry.v1.status.*"}
    forbidden = [
        ">",
        "*.>",
        "machete.>",
        "_INBOX.>",
        "$JS.API.>",
        "$JS.ACK.>",
        "$KV.>",
        "$O.>",
        *others,
        *(subject for stream in (COMMANDS, TASKS) for subject in stream.subjects),
        "machete.log.v1.*.*",
        "machete.dlq.v1.*.*",
        *(subject for owner, subject in questions.items() if owner != user),
    ]
    async with speaking(server, user) as voice:
        assert await voice.refused_of(forbidden, subscribing=True) == set(forbidden)


@pytest.mark.parametrize("user", SERVICES)
async def test_a_service_hears_its_answers_and_its_questions(server: NatsServers, user: str):
    needed = [f"{inbox_prefix(user)}.abc"]
    if user in ("gateway", "status"):
        needed.append(f"machete.qry.v1.{user}.*")
    if user in ("installer", "orchestrator", "status"):
        needed += ["machete.evt.v1.tool.*.operation.*", "machete.evt.v1.tool.*.step.*"]
    async with speaking(server, user) as voice:
        assert await voice.refused_of(needed, subscribing=True) == set()


@pytest.mark.parametrize("user", SERVICES)
async def test_no_service_changes_what_was_provisioned_or_takes_back_what_was_said(server: NatsServers, user: str):
    actions = ("CREATE", "UPDATE", "DELETE", "PURGE", "MSG.DELETE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN")
    forbidden = [f"$JS.API.STREAM.{action}.{store}" for action in actions for store in STORES]
    forbidden += ["$JS.API.STREAM.CREATE.MORE", "$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE"]
    forbidden += [f"$KV.{NAMES.name}.instance", "$SYS.REQ.SERVER.PING"]
    allowed = {
        "installer": {f"$JS.API.STREAM.PURGE.OBJ_{SOURCES.name}"},
        "gateway": {f"$JS.API.STREAM.MSG.DELETE.{DEAD_LETTERS.name}"},  # an administrator drops a letter
        "orchestrator": {f"$JS.API.STREAM.PURGE.{LOGS.name}"},  # no tool keeps more of it than its share
    }.get(user, set[str]())
    async with speaking(server, user) as voice:
        assert await voice.refused_of(forbidden) == set(forbidden) - allowed


@pytest.mark.parametrize("user", SERVICES)
async def test_no_service_takes_work_that_is_anothers(server: NatsServers, user: str):
    owners = {"installer": ("COMMANDS", "installer"), "orchestrator": ("COMMANDS", "orchestrator")}
    tasks = {"orchestrator": ("TASKS", "orchestrator-tasks")}
    own = {found for each in (owners, tasks) if (found := each.get(user))}
    everyones = {("COMMANDS", "installer"), ("COMMANDS", "orchestrator"), ("TASKS", "orchestrator-tasks")}
    forbidden = [
        subject
        for stream, consumer in (everyones | {("COMMANDS", "thief"), ("TASKS", "thief")}) - own
        for subject in (
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
            f"$JS.API.CONSUMER.CREATE.{stream}.{consumer}",
            f"$JS.API.CONSUMER.CREATE.{stream}.{consumer}.machete.cmd.v1.tool.x.start",
            f"$JS.API.CONSUMER.CREATE.{stream}",
            f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{consumer}",
            f"$JS.API.CONSUMER.DELETE.{stream}.{consumer}",
            f"$JS.ACK.{stream}.{consumer}.1.1.1.1.1",
        )
    ]
    forbidden += [f"$JS.API.CONSUMER.DELETE.{stream}.{consumer}" for stream, consumer in everyones]
    async with speaking(server, user) as voice:
        assert await voice.refused_of(forbidden) == set(forbidden)


@pytest.mark.parametrize("user", SERVICES)
async def test_an_action_that_is_none_is_refused_to_everybody(server: NatsServers, user: str):
    """One that no consumer takes would stay at the head of its tool for ever."""
    made_up = ["machete.cmd.v1.tool.lathe-abc234.explode", "machete.cmd.v1.tool.lathe-abc234.start.now"]
    made_up += ["machete.task.v1.orchestrator.explode.op", "machete.cmd.v1.start", "machete.anything"]
    async with speaking(server, user) as voice:
        assert await voice.refused_of(made_up) == set(made_up)


@pytest.mark.parametrize("user", ["gateway", "status"])
async def test_who_answers_may_answer_whoever_asked_and_only_once(server: NatsServers, user: str):
    asker = "gateway" if user == "status" else "status"
    question = "machete.qry.v1.status.tools" if user == "status" else "machete.qry.v1.gateway.authenticate"
    async with speaking(server, user) as answering, speaking(server, asker) as asking:

        async def answer(message: Msg) -> None:
            await message.respond(b"once")
            await message.respond(b"twice")

        await answering.client.subscribe(question, cb=answer)
        for _ in range(2):  # nats-py's first ping overtakes what it has not yet written
            await answering.client.flush()
        reply = await asking.client.request(question, b"?", timeout=5)
        assert reply.data == b"once"
        assert len(await answering.refused()) == 1


async def test_the_platform_says_and_hears_nothing_of_what_services_say(server: NatsServers):
    said = {sample.subject for sample in SAMPLES}
    async with speaking(server, "platform") as voice:
        assert await voice.refused_of(said) == said
    heard = {"machete.>", ">", *(f"{inbox_prefix(user)}.>" for user in SERVICES)}
    async with speaking(server, "platform") as voice:
        assert await voice.refused_of(heard, subscribing=True) == heard


def test_every_user_has_an_inbox_of_its_own():
    for user, rights in permissions().items():
        inboxes = [each for each in rights.subscribe if each.startswith("_INBOX")]
        assert inboxes == ([] if user == "answers" else [f"{inbox_prefix(user)}.>"])
    assert WITNESS not in permissions()
