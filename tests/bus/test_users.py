"""Every NATS user, agents among them, tries what every other one may: all cells of the table, on a real server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import nats
import pytest

from libs.contracts.agents import agent_inbox
from libs.contracts.permissions import Permissions, agent_permissions, permissions
from libs.runtime.bus.agent_auth import authorizing_agents
from libs.runtime.bus.connecting import close, connect, servers_of
from libs.runtime.nats_callout import credentials
from libs.runtime.nats_keys import credentials_file, new_issuer, new_user
from tests.support.nats_server import NATS_VERSIONS, NatsServers, running_servers
from tests.support.voice import Voice, speaking

AGENTS = ("robot", "other")
TABLE: dict[str, Permissions] = {**permissions(), **{name: agent_permissions(name) for name in AGENTS}}
# What nobody's row names, and everybody would like to have.
WISHES = (
    ">", "*", "*.>", "_INBOX.>", "_INBOX.a", "$SYS.>", "$SYS.REQ.SERVER.PING", "$SYS.ACCOUNT.MACHETE.CONNECT", "$JS.>",
    "$JS.EVENT.>", "$KV.>", "$KV.machete_secrets.a", "$O.>", "machete.>", "machete.agent.>", "machete.agent.v1.robot.>",
    "_INBOX_agent.>", "_INBOX_agent.*.a", "_R_.>", "$SYS.REQ.USER.AUTH",
)  # fmt: skip


def concrete(pattern: str) -> str:
    """One subject of those that a pattern stands for."""
    return pattern.replace("*", "x").replace(">", "x.y")


def covers(pattern: str, other: str) -> bool:
    """Whether all subjects of the other one are of this one too."""
    mine, theirs = pattern.split("."), other.split(".")
    for place, token in enumerate(mine):
        if token == ">":
            return len(theirs) > place
        if place >= len(theirs) or theirs[place] == ">":
            return False
        if token not in ("*", theirs[place]):
            return False
    return len(mine) == len(theirs)


def wanted(kind: str) -> list[str]:
    """Everything that anybody may publish or subscribe to, and the wishes."""
    everybodys = (subject for rights in TABLE.values() for subject in (*rights.publish, *rights.subscribe))
    found = dict.fromkeys((*everybodys, *WISHES))
    return list(dict.fromkeys(concrete(each) for each in found)) if kind == "publish" else list(found)


@dataclass
class Hub:
    server: NatsServers
    files: dict[str, Path]

    @asynccontextmanager
    async def voice(self, user: str) -> AsyncGenerator[Voice]:
        if user not in AGENTS:
            async with speaking(self.server, user) as voice:
                yield voice
            return
        voice = Voice()
        options = {"user_credentials": str(self.files[user]), "inbox_prefix": agent_inbox(user).encode()}
        voice.client = await nats.connect(servers_of(self.server.url), error_cb=voice.hear, **options)
        try:
            yield voice
        finally:
            await close(voice.client)


@pytest.fixture(scope="module", params=NATS_VERSIONS)
async def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Hub]:
    """A server, the gateway's answer to strangers, and two agents."""
    issuer, folder = new_issuer(), tmp_path_factory.mktemp("agents")
    users = {name: new_user() for name in AGENTS}
    for name, user in users.items():
        (folder / f"{name}.creds").write_text(credentials_file(user, credentials(issuer, name, user)))

    async def known() -> list[tuple[str, str]]:
        return [(name, user.public) for name, user in users.items()]

    async with (
        running_servers(request.param, users=permissions(), issuer=issuer.public) as server,
        AsyncExitStack() as stack,
    ):
        password = server.password("gateway")
        bus = await stack.enter_async_context(
            connect(server.url, user="gateway", password=password, service="gateway", source="gateway/test")
        )
        await stack.enter_async_context(authorizing_agents(bus, issuer, known, queue="gateway"))
        yield Hub(server, {name: folder / f"{name}.creds" for name in AGENTS})


@pytest.mark.parametrize("user", sorted(TABLE))
async def test_a_user_says_what_its_row_lets_it_and_nothing_of_what_others_may(hub: Hub, user: str):
    subjects = wanted("publish")
    allowed = {each for each in subjects if any(covers(pattern, each) for pattern in TABLE[user].publish)}
    async with hub.voice(user) as voice:
        refused = await voice.refused_of(subjects)
    assert refused == set(subjects) - allowed


@pytest.mark.parametrize("user", sorted(TABLE))
async def test_a_user_hears_what_its_row_lets_it_and_nothing_of_what_others_may(hub: Hub, user: str):
    subjects = wanted("subscribe")
    allowed = {each for each in subjects if any(covers(pattern, each) for pattern in TABLE[user].subscribe)}
    async with hub.voice(user) as voice:
        refused = await voice.refused_of(subjects, subscribing=True)
    assert refused == set(subjects) - allowed


def overlaps() -> Iterator[tuple[str, str, str]]:
    for user, rights in TABLE.items():
        for other, others in TABLE.items():
            if user != other:
                yield from (
                    (user, other, each)
                    for each in rights.publish
                    if any(covers(each, theirs) or covers(theirs, each) for theirs in others.publish)
                )


def test_what_an_agent_says_nobody_else_says():
    """So a subject of an agent's proves who spoke."""
    shared = {(user, each) for user, other, each in overlaps() if {user, other} & set(AGENTS)}
    assert shared == set()


def test_nobody_but_answers_writes_to_agents_and_it_writes_nowhere_else():
    inbox = f"{agent_inbox('robot')}.a"
    writers = {user for user, rights in TABLE.items() if any(covers(each, inbox) for each in rights.publish)}
    assert writers == {"answers"}
    assert TABLE["answers"].publish == ("_INBOX_agent.>",)
    assert TABLE["answers"].subscribe == ()
    assert not TABLE["answers"].responds


def test_only_the_gateway_is_asked_who_may_connect():
    listeners = {user for user, rights in TABLE.items() if "$SYS.REQ.USER.AUTH" in rights.subscribe}
    askers = {
        user for user, rights in TABLE.items() if any(covers(each, "$SYS.REQ.USER.AUTH") for each in rights.publish)
    }
    assert (listeners, askers) == ({"gateway"}, set())


@pytest.mark.parametrize(
    ("pattern", "other", "expected"),
    [("a.*", "a.b", True), ("a.>", "a.b.c", True), ("a.>", "a", False), ("a.*", "a.>", False), ("a.b", "a.*", False),
     (">", "a.*", True), ("a.*.c", "a.>", False), ("a", "a.b", False), ("a.>", "a.>", True)],
)  # fmt: skip
def test_the_rule_itself_tells_what_covers_what(pattern: str, other: str, expected: bool):
    assert covers(pattern, other) is expected
