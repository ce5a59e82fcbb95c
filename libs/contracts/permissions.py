"""Which subjects each NATS user may use: the least that its service needs, from the first day.

`platform` provisions and is used for nothing else. An inbox prefix of its own for every user keeps
answers from other eyes.

The gateway has two users more. An agent names the subject that its answer goes to, so `answers` may write to agents'
inboxes and nowhere else: whatever is named, nothing else can be reached. `warden` stands in the server's own account,
where it finds and ends the connections of an agent that was removed.
"""

from typing import Literal

from libs.contracts import subjects
from libs.contracts.agents import INBOXES, agent_inbox
from libs.contracts.envelope import Frozen
from libs.contracts.streams import (
    COMMANDS,
    DEAD_LETTERS,
    EVENTS,
    INSTANCE_KEY,
    LOGS,
    NAMES,
    PRESENCE,
    SOURCES,
    STATES,
    TASKS,
    id_key,
    name_key,
)

_NAMES = f"KV_{NAMES.name}"
_PRESENCE = f"KV_{PRESENCE.name}"
_SOURCES = f"OBJ_{SOURCES.name}"
# Where the server asks who it is that connects.
CALLOUT = "$SYS.REQ.USER.AUTH"
# Which stream has a subject: the client's object store asks this before it reads.
_LOOK_UP = "$JS.API.STREAM.NAMES"


class Permissions(Frozen):
    """`responds`: may answer whoever asked it, on the asker's inbox, once."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    responds: bool = False
    account: Literal["MACHETE", "SYSTEM"] = "MACHETE"


def permissions() -> dict[str, Permissions]:
    return {
        "platform": Permissions(
            publish=("$JS.API.>", f"$KV.{NAMES.name}.{INSTANCE_KEY}"),
            subscribe=("_INBOX_platform.>",),
        ),
        "gateway": _gateway(),
        "installer": _installer(),
        "orchestrator": _orchestrator(),
        "status": _status(),
        "answers": Permissions(publish=(f"{INBOXES}.>",), subscribe=()),
        "warden": Permissions(
            publish=("$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.*.KICK"),
            subscribe=("_INBOX_warden.>",),
            account="SYSTEM",
        ),
    }


def agent_permissions(agent: str) -> Permissions:
    """The same for every role: what an agent may ask for is decided when it asks."""
    return Permissions(
        publish=(subjects.AGENT.filter(agent=agent),),
        subscribe=(
            f"{agent_inbox(agent)}.>",
            subjects.RECORD.filter(),
            subjects.STEP.filter(),
            subjects.TOOL_ENGINE.filter(),
            subjects.STATE.filter(),
        ),
    )


def _gateway() -> Permissions:
    return Permissions(
        publish=(
            *(subject.filter() for subject in subjects.COMMAND.values()),
            subjects.RECORD.filter(),
            subjects.QUERY.filter(service="status"),
            *(f"$KV.{NAMES.name}.{key}" for key in (name_key("*"), id_key("*"))),
            *_reads(COMMANDS.name, EVENTS.name, STATES.name, DEAD_LETTERS.name, _NAMES),
            *(f"$JS.API.CONSUMER.INFO.{COMMANDS.name}.{consumer.name}" for consumer in COMMANDS.consumers),
            f"$JS.API.STREAM.MSG.DELETE.{DEAD_LETTERS.name}",
        ),
        subscribe=(
            "_INBOX_gateway.>",
            subjects.QUERY.filter(service="gateway"),
            subjects.RECORD.filter(),
            subjects.AGENT.filter(),
            CALLOUT,
        ),
        responds=True,
    )


def _worker(service: str) -> tuple[str, ...]:
    """What everyone who carries out commands writes and reads."""
    return (
        subjects.RECORD.filter(),
        subjects.STEP.filter(),
        subjects.STATE.filter(),
        subjects.LOG.filter(),
        subjects.DEAD_LETTER.filter(),
        f"$KV.{NAMES.name}.{name_key('*')}",
        *_consumes(COMMANDS.name, service),
        *_reads(COMMANDS.name, EVENTS.name, STATES.name, LOGS.name, DEAD_LETTERS.name, _NAMES),
    )


def _installer() -> Permissions:
    return Permissions(
        publish=(
            *_worker("installer"),
            *(subject.filter() for subject in subjects.TASK.values()),
            f"$O.{SOURCES.name}.>",
            *_reads(_SOURCES),
            f"$JS.API.STREAM.PURGE.{_SOURCES}",
            _LOOK_UP,
            *_follows(_SOURCES),
            *_follows(STATES.name),
            subjects.QUERY.filter(service="gateway", question="authenticate"),
        ),
        subscribe=("_INBOX_installer.>", subjects.RECORD.filter(), subjects.STEP.filter()),
    )


def _orchestrator() -> Permissions:
    return Permissions(
        publish=(
            *_worker("orchestrator"),
            subjects.COMMAND["start"].filter(),
            f"$KV.{NAMES.name}.{id_key('*')}",
            subjects.TOOL_ENGINE.filter(),
            subjects.ENGINE.filter(),
            *_consumes(TASKS.name, "orchestrator-tasks"),
            *_reads(TASKS.name, _SOURCES, _PRESENCE),
            # Of tools that hold more than their share of it, the oldest makes way.
            f"$JS.API.STREAM.PURGE.{LOGS.name}",
            _LOOK_UP,
            *_follows(_SOURCES),
            *_follows(STATES.name),
            f"$KV.{PRESENCE.name}.>",
            subjects.QUERY.filter(service="gateway", question="authenticate"),
        ),
        subscribe=(
            "_INBOX_orchestrator.>",
            subjects.RECORD.filter(),
            subjects.STEP.filter(),
            subjects.STATE.filter(),
        ),
    )


def _status() -> Permissions:
    return Permissions(
        publish=(
            *_reads(EVENTS.name, STATES.name, LOGS.name, _NAMES),
            *_follows(EVENTS.name),
            *_follows(STATES.name),
            *_follows(LOGS.name),
            subjects.QUERY.filter(service="gateway", question="authenticate"),
        ),
        subscribe=(
            "_INBOX_status.>",
            subjects.QUERY.filter(service="status"),
            subjects.RECORD.filter(),
            subjects.STEP.filter(),
            subjects.TOOL_ENGINE.filter(),
            subjects.ENGINE.filter(),
        ),
        responds=True,
    )


def _reads(*streams: str) -> tuple[str, ...]:
    """Single messages by sequence or subject, and what the stream holds."""
    about = (f"$JS.API.STREAM.{what}.{stream}" for stream in streams for what in ("MSG.GET", "INFO"))
    return ("$JS.API.INFO", *about)


def _consumes(stream: str, consumer: str) -> tuple[str, ...]:
    """Work from one durable consumer, made again as it was declared if it vanished."""
    return (
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
        f"$JS.API.CONSUMER.INFO.{stream}.{consumer}",
        f"$JS.API.CONSUMER.CREATE.{stream}.{consumer}",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{consumer}",
        f"$JS.ACK.{stream}.{consumer}.>",
    )


def _follows(stream: str) -> tuple[str, ...]:
    """Readers of its own on a stream."""
    return (
        f"$JS.API.CONSUMER.CREATE.{stream}.>",
        f"$JS.API.CONSUMER.CREATE.{stream}",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.*",
        f"$JS.API.CONSUMER.INFO.{stream}.*",
        f"$JS.API.CONSUMER.DELETE.{stream}.*",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*",
        f"$JS.ACK.{stream}.>",
        f"$JS.FC.{stream}.>",
    )
