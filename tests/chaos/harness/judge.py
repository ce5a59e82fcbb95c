"""Which promises of the bus a history breaks. Pure; what it looks at is a history that has come to rest."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from tests.chaos.harness.history import Fault, Found, History, Said

ENDS = frozenset({"succeeded", "failed", "cancelled"})
# As a tool is shown or recorded: its container runs, it does not, or nobody claims to know.
UP = frozenset({"running", "starting", "degraded"})
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """`rule` is the promise, `about` the operation, tool or thing that breaks it."""

    rule: str
    about: str
    words: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.about}: {self.words}"


@dataclass(frozen=True)
class Life:
    """The record of one operation, oldest first."""

    operation: str
    tool: str
    record: tuple[Said, ...]

    @cached_property
    def ends(self) -> list[Said]:
        return [said for said in self.record if said.what in ENDS]

    @cached_property
    def starts(self) -> list[Said]:
        return [said for said in self.record if said.what == "started"]

    @property
    def end(self) -> Said | None:
        return self.ends[0] if self.ends else None

    @property
    def kind(self) -> str:
        return next((said.kind for said in self.record if said.kind), "?")


class Case:
    """A history, sorted by what the rules ask for."""

    def __init__(self, history: History) -> None:
        self.history = history
        records: dict[str, list[Said]] = defaultdict(list)
        for said in sorted(history.said, key=lambda said: said.sequence):
            records[said.operation].append(said)
        self.lives = {name: Life(name, record[0].tool, tuple(record)) for name, record in records.items()}
        self.on_engine: dict[str, list[Found]] = defaultdict(list)
        for found in history.found:
            self.on_engine[found.tool].append(found)

    @cached_property
    def outcomes(self) -> dict[str, Said]:
        """Of each tool, the last end that had an effect."""
        ends = [life.end for life in self.lives.values() if life.end is not None and life.end.effect != "none"]
        return {end.tool: end for end in sorted(ends, key=lambda end: end.sequence)}

    @cached_property
    def installed(self) -> dict[str, Said]:
        return {tool: end for tool, end in self.outcomes.items() if end.effect == "changed"}

    @cached_property
    def lanes(self) -> dict[str, list[Life]]:
        """Of each tool, the operations in the order in which COMMANDS stored them, as far as that was seen."""
        lanes: dict[str, list[Life]] = defaultdict(list)
        known: set[str] = set()
        for stored in sorted(self.history.stored, key=lambda stored: stored.sequence):
            if stored.operation in self.lives and stored.operation not in known:
                known.add(stored.operation)
                lanes[stored.tool].append(self.lives[stored.operation])
        return lanes

    @cached_property
    def keeping_data(self) -> set[str]:
        """Operations that remove a tool and leave its data."""
        return {
            asked.operation
            for asked in self.history.asked
            if asked.kind == "uninstall" and not asked.data and asked.operation is not None
        }

    def meddled(self, end: Said) -> bool:
        """Whether somebody laid hands on the tool's container since the operation of its last outcome began."""
        starts = self.lives[end.operation].starts
        since = starts[0].at if starts else end.at
        return any(fault.tool == end.tool and fault.ended >= since for fault in self.history.fault)


Rule = Callable[[Case], Iterator[Finding]]


def accepted_ends_once(case: Case) -> Iterator[Finding]:
    """What was accepted ends, once; so does what a service asked for itself."""
    for asked in case.history.asked:
        if asked.operation is not None and asked.operation not in case.lives:
            yield Finding("accepted and lost", asked.operation, f"{asked.kind} of {asked.name} has no record")
    for life in case.lives.values():
        whats = " ".join(said.what for said in life.record)
        if not life.ends:
            yield Finding("never ended", life.operation, f"{life.kind} of {life.tool}: {whats}")
        elif len(life.ends) > 1:
            yield Finding("ended twice", life.operation, f"{life.kind} of {life.tool}: {whats}")


def end_is_the_newest_owners(case: Case) -> Iterator[Finding]:
    """The end is the record's last word and answers the newest start; the record begins with `accepted`."""
    for life in case.lives.values():
        if life.record[0].what != "accepted" or sum(said.what == "accepted" for said in life.record) != 1:
            words = " ".join(said.what for said in life.record)
            yield Finding("not accepted once", life.operation, words)
        if life.end is None:
            continue
        newest = life.starts[-1].sequence if life.starts else 0
        if life.end.fence != newest:
            yield Finding("end of a fenced-off owner", life.operation, f"fence {life.end.fence}, newest {newest}")
        if life.record[-1].what not in ENDS:
            yield Finding("goes on after its end", life.operation, f"{life.record[-1].what} comes last")


def cancelled_on_request(case: Case) -> Iterator[Finding]:
    """Nothing says that it was cancelled which nobody wanted to cancel; `now` asks for it too."""
    for life in case.lives.values():
        asked = any(said.what == "cancel-requested" for said in life.record)
        if life.end is not None and not asked and "cancelled" in (life.end.what, life.end.code):
            yield Finding("cancelled by nobody", life.operation, f"{life.kind} of {life.tool} {life.end.what}")


def one_after_the_other(case: Case) -> Iterator[Finding]:
    """Operations of one tool begin in the order in which their commands were stored, each after the end before it."""
    for tool, lane in case.lanes.items():
        begun = [life for life in lane if life.starts and life.end is not None]
        for before, after in itertools.pairwise(begun):
            yield from _in_order(tool, before, after)


def as_each_client_asked(case: Case) -> Iterator[Finding]:
    """What a client was told is accepted comes before what it asked of the same tool afterwards."""
    by_client: dict[tuple[int, str], dict[str, tuple[int, int]]] = defaultdict(dict)
    for asked in case.history.asked:
        if asked.operation is not None and asked.tool is not None:
            mine = by_client[asked.client, asked.tool]
            sent, heard = mine.get(asked.operation, (asked.sent, asked.heard))
            mine[asked.operation] = (min(sent, asked.sent), min(heard, asked.heard))
    for (_, tool), mine in by_client.items():
        lives = [case.lives[operation] for operation in mine if operation in case.lives]
        begun = sorted((life for life in lives if life.starts and life.end), key=lambda life: mine[life.operation])
        for before, after in itertools.pairwise(begun):
            if mine[before.operation][1] < mine[after.operation][0]:
                yield from _in_order(tool, before, after)


def _in_order(tool: str, before: Life, after: Life) -> Iterator[Finding]:
    assert before.end is not None
    if after.starts[0].sequence < before.end.sequence:
        words = (
            f"{after.kind} {after.operation} began at {after.starts[0].sequence},"
            f" {before.kind} {before.operation} ended at {before.end.sequence}"
        )
        yield Finding("out of order", tool, words)


def one_key_one_operation(case: Case) -> Iterator[Finding]:
    """However often a request is sent under one key, it is one operation."""
    operations: dict[str, set[str]] = defaultdict(set)
    for asked in case.history.asked:
        if asked.key and asked.operation is not None:
            operations[asked.key].add(asked.operation)
    for key, several in operations.items():
        if len(several) > 1:
            yield Finding("one key, several operations", key, " ".join(sorted(several)))


def recorded_state(case: Case) -> Iterator[Finding]:
    """STATE says of each tool what its last outcome says."""
    kept = {each.tool: each for each in case.history.kept}
    for tool, end in case.outcomes.items():
        state = kept.get(tool)
        if state is None:
            yield Finding("state not recorded", tool, f"nothing, after {end.operation}")
        elif (state.fence, state.state, state.wants) != (end.sequence, end.state, end.wants):
            yield Finding("state not recorded", tool, f"{state} after {end}")
    for tool in kept.keys() - case.outcomes.keys():
        yield Finding("state of nothing", tool, "STATE has it, and no operation ended with it")


def on_the_engine(case: Case) -> Iterator[Finding]:
    """The engine has what the outcomes say: the containers of each tool, up or down; nothing of what is gone."""
    wanted = {each.tool: each.services for each in case.history.kept}
    for tool, end in case.installed.items():
        containers = [found for found in case.on_engine.get(tool, ()) if found.what == "container"]
        running, wants = sum(each.running for each in containers), wanted.get(tool, 1)
        if case.meddled(end) and len(containers) <= wants:
            continue
        if len(containers) != wants:
            yield Finding("not its containers", tool, f"{len(containers)} of {wants}, recorded {end.state}")
        elif end.state != UNKNOWN and running != (wants if end.state in UP else 0):
            words = f"recorded {end.state}, {running} of {wants} containers run on the engine"
            yield Finding("recorded is not so", tool, words)
    for tool in case.on_engine.keys() - case.installed.keys():
        end = case.outcomes.get(tool)
        keeps = end is not None and end.operation in case.keeping_data
        for found in case.on_engine[tool]:
            if not (keeps and found.what == "volume"):
                yield Finding("left of a tool that is gone", tool, f"{found.what} {found.name}")


def as_shown(case: Case) -> Iterator[Finding]:
    """Every replica of status shows the tools that there are, up where the engine runs them, and what wants to run."""
    replicas = sorted({each.replica for each in (*case.history.shown, *case.history.shownoperation)})
    for replica in replicas:
        shown = {each.tool: each for each in case.history.shown if each.replica == replica}
        for tool in shown.keys() ^ case.installed.keys():
            yield Finding("shown is not so", tool, f"{replica} {'shows it' if tool in shown else 'does not show it'}")
        for tool in shown.keys() & case.installed.keys():
            runs = any(found.running for found in case.on_engine.get(tool, ()))
            each = shown[tool]
            if each.wants != case.installed[tool].wants or (each.state in UP) != runs:
                said = f"{replica} shows {each.state}, wanted: {each.wants}; recorded wanted: "
                yield Finding("shown is not so", tool, f"{said}{case.installed[tool].wants}; runs: {runs}")
        yield from _operations_shown(case, replica)


def _operations_shown(case: Case, replica: str) -> Iterator[Finding]:
    shown = {each.operation: each.state for each in case.history.shownoperation if each.replica == replica}
    for operation in shown.keys() - case.lives.keys():
        yield Finding("shown is not so", operation, f"{replica} shows an operation without a record")
    for operation, life in case.lives.items():
        if life.end is not None and shown.get(operation) != life.end.what:
            words = f"{replica} shows {shown.get(operation)}, its record says {life.end.what}"
            yield Finding("shown is not so", operation, words)


def nothing_left(case: Case) -> Iterator[Finding]:
    """Queues are empty, no child process and no folder of a fetch is left, nobody complained of a bug."""
    for left in case.history.left:
        yield Finding(f"{left.what} left", left.name, "once all was quiet")
    for complaint in case.history.complaint:
        yield Finding("complaint", complaint.process, complaint.text)


RULES: tuple[Rule, ...] = (
    accepted_ends_once,
    end_is_the_newest_owners,
    cancelled_on_request,
    one_after_the_other,
    as_each_client_asked,
    one_key_one_operation,
    recorded_state,
    on_the_engine,
    as_shown,
    nothing_left,
)


def judged(history: History) -> list[Finding]:
    """All that is wrong, each once."""
    case = Case(history)
    return list(dict.fromkeys(finding for rule in RULES for finding in rule(case)))


@dataclass(frozen=True)
class Recovery:
    """Seconds from the ends of `faults` of one kind to the first operation that ended after each.

    `open` counts those after which none ended any more: nothing was left to do.
    """

    kind: str
    faults: int
    open: int
    median: float
    worst: float


def recoveries(history: History) -> list[Recovery]:
    ends = sorted(said.at for said in history.said if said.what in ENDS)
    kinds = sorted(Counter(fault.kind for fault in history.fault))
    return [_recovery(kind, [fault for fault in history.fault if fault.kind == kind], ends) for kind in kinds]


def _recovery(kind: str, faults: Sequence[Fault], ends: Sequence[float]) -> Recovery:
    after = (next((at for at in ends if at > fault.ended), None) for fault in faults)
    taken = sorted(at - fault.ended for at, fault in zip(after, faults, strict=True) if at is not None)
    median = taken[len(taken) // 2] if taken else 0.0
    return Recovery(kind, len(faults), len(faults) - len(taken), median, taken[-1] if taken else 0.0)
