"""Every stream, bucket and consumer, declared once; `libs.runtime.bus.provision` makes them so.

Sizes are bytes, ages seconds. A subject that no consumer filters would stay at the head of its
tool for ever, so COMMANDS and TASKS name every subject they take.
"""

from typing import Literal

from libs.contracts.envelope import Frozen
from libs.contracts.subjects import COMMAND, DEAD_LETTER, ENGINE, LOG, RECORD, STATE, STEP, TASK, TOOL_ENGINE

# The bounds that no setting of the gateway's admission can pass. No more wait than one consumer hands out.
WAITING_PER_TOOL = 1_000
WAITING_IN_ALL = 9_000

DAY = 86_400
MIB = 1024 * 1024


class Consumer(Frozen):
    """A durable pull consumer. Deliveries are unlimited: attempts are counted in the record."""

    name: str
    filters: tuple[str, ...]
    max_ack_pending: int = 10_000


class Stream(Frozen):
    """With `refuse`, what has no room is refused (`per_subject`, `in_all`: messages); without it the oldest goes."""

    name: str
    subjects: tuple[str, ...]
    retention: Literal["work_queue", "limits"] = "limits"
    max_age: int | None = None
    max_bytes: int
    per_subject: int | None = None
    in_all: int | None = None
    refuse: bool = False
    duplicate_window: int = 120
    consumers: tuple[Consumer, ...] = ()


class Bucket(Frozen):
    name: str
    ttl: int | None = None
    max_bytes: int = 64 * MIB


COMMANDS = Stream(
    name="COMMANDS",
    subjects=tuple(subject.filter() for subject in COMMAND.values()),
    retention="work_queue",
    max_bytes=256 * MIB,
    per_subject=WAITING_PER_TOOL,
    in_all=WAITING_IN_ALL,
    refuse=True,
    duplicate_window=600,
    consumers=(
        Consumer(name="installer", filters=(COMMAND["install"].filter(),)),
        Consumer(
            name="orchestrator",
            filters=tuple(COMMAND[action].filter() for action in ("build", "start", "stop", "restart", "uninstall")),
        ),
    ),
)

TASKS = Stream(
    name="TASKS",
    subjects=tuple(subject.filter() for subject in TASK.values()),
    retention="work_queue",
    max_bytes=64 * MIB,
    refuse=True,
    consumers=(Consumer(name="orchestrator-tasks", filters=tuple(subject.filter() for subject in TASK.values())),),
)

EVENTS = Stream(
    name="EVENTS",
    subjects=(RECORD.filter(), STEP.filter(), TOOL_ENGINE.filter(), ENGINE.filter()),
    max_age=90 * DAY,
    max_bytes=2048 * MIB,
)

STATES = Stream(name="STATE", subjects=(STATE.filter(),), max_bytes=256 * MIB, per_subject=1)

# A tool that prints a line now and then has a chunk for each of them; of full ones this many take half of the room.
LOGS = Stream(
    name="LOGS",
    subjects=(LOG.filter(),),
    max_age=14 * DAY,
    max_bytes=1024 * MIB,
    per_subject=8192,
)

# A message is kept once, also by the worker that comes back a day after the one that died over it.
DEAD_LETTERS = Stream(
    name="DLQ", subjects=(DEAD_LETTER.filter(),), max_age=30 * DAY, max_bytes=64 * MIB, duplicate_window=DAY
)

STREAMS = (COMMANDS, TASKS, EVENTS, STATES, LOGS, DEAD_LETTERS)

NAMES = Bucket(name="machete_names")
PRESENCE = Bucket(name="machete_presence", ttl=10)
BUCKETS = (NAMES, PRESENCE)

SOURCES = Bucket(name="machete_sources", max_bytes=2048 * MIB)


class Reservation(Frozen):
    """The value of `name.<tool name>`, held from before a tool's install until it is gone."""

    tool: str
    operation: str
    reserved_at: float


def name_key(name: str) -> str:
    return f"name.{name}"


def id_key(tool: str) -> str:
    """Never deleted: an id is never used again."""
    return f"id.{tool}"


INSTANCE_KEY = "instance"
