"""All tools as they are shown, kept for those who follow states: read once and put into text once for all of them.

What changes within `WINDOW` seconds is told once, as it is at its end. Nobody has a queue here either: who has been
slow is told of each tool that changed since as it is now. While nobody follows, nothing is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from libs.runtime.bus.reader import Replaced
from libs.runtime.logging import get_logger
from services.status.domain.showing import tool_shown
from services.status.ports import Tables, TablesAway, ToolRow
from services.status.progress import Progress

log = get_logger(__name__)

# Seconds.
WINDOW = 0.1
RETRY = 0.5
PAGE = 200
# Of a frame, in characters.
LONGEST = 256 * 1024
# Tools that are gone and may have been shown to somebody who comes back.
MOST_GONE = 1000

Body = tuple[int | None, str]


@dataclass(frozen=True, slots=True)
class _Shown:
    """`text` is the tool's view, None once it is gone; `version` and `position` are the board's as it changed."""

    text: str | None
    version: int
    position: int


@dataclass(eq=False)
class Watch:
    """What one connection sees of the board; `wanted` are ids of tools, None for all."""

    board: Board
    wanted: frozenset[str] | None
    wake: Callable[[], None]
    broken: str | None = None
    _seen: int | None = None

    async def news(self, position: int | None) -> Sequence[Body]:
        """Bodies of frames, each with the position that holds once it is sent. `position`: what was seen before.

        Raises `Replaced` where what was seen has nothing to do any more with what is there.
        """
        board = self.board
        if self.broken is not None:
            raise Replaced(self.broken)
        if not board.ready or self._seen == board.version:
            return ()
        if self._seen is not None and self._seen >= board.forgotten:
            found = board.since_version(self._seen, self.wanted)
        elif self._seen is None and position is not None and position >= board.begun:
            found = board.since_position(position, self.wanted)
        else:
            found = board.whole(self.wanted)
        self._seen = board.version
        if not found:
            return ()
        # A whole picture of which a part was sent is none: whoever breaks off in between begins again.
        before = None if found[0].startswith('{"whole":true') else position
        return [*((before, body) for body in found[:-1]), (board.position, found[-1])]


@dataclass
class Board:
    """`position` is the event up to which it holds, `begun` the first from which on it knows what changed when.

    Of removals up to the version `forgotten` it may know nothing any more. `ready`: it may be shown.
    """

    tables: Tables
    progress: Progress
    version: int = 0
    position: int = 0
    begun: int = 0
    forgotten: int = 0
    ready: bool = False
    _known: bool = False
    _breaks: int = 0
    _shown: dict[str, _Shown] = field(default_factory=dict[str, _Shown])
    _dirty: set[str] = field(default_factory=set[str])
    _all: bool = True
    _watches: set[Watch] = field(default_factory=set[Watch])
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _made: dict[tuple[object, ...], list[str]] = field(default_factory=dict[tuple[object, ...], list[str]])

    async def run(self) -> None:
        """Until cancelled."""
        with self.progress.telling(self._hear):
            while True:
                await self._news.wait()
                if self.ready:
                    await asyncio.sleep(WINDOW)
                self._news.clear()
                try:
                    if self.progress.complete:
                        await self._look()
                        continue
                except TablesAway as away:
                    log.info("what is followed is read later", problem=str(away))
                except Exception:
                    log.exception("what is followed could not be shown")
                await asyncio.sleep(RETRY)
                self._news.set()

    @contextmanager
    def watched(self, wanted: frozenset[str] | None, wake: Callable[[], None]) -> Iterator[Watch]:
        if not self._watches:
            self.ready = self.ready and not self._dirty and not self._all
        watch = Watch(self, wanted, wake)
        self._watches.add(watch)
        if not self.ready:
            self._news.set()
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def _hear(self, tools: Iterable[str] | None) -> None:
        """These may look different now; None: all, as far as anybody knows."""
        if tools is None:
            self._all = True
            if self.progress.position < self.position:
                self._break("the tables are filled anew")
        else:
            self._dirty.update(tools)
        if self._watches and (self._all or self._dirty):
            self._news.set()

    def _break(self, why: str) -> None:
        """Sequences go back: who watches has to come again."""
        self.ready = self._known = False
        self.position = 0
        self._breaks += 1
        self._shown.clear()
        self._made.clear()
        for watch in self._watches:
            watch.broken = why
            watch.wake()

    async def _look(self) -> None:
        everything, dirty = self._all, self._dirty
        self._all, self._dirty = False, set()
        position, breaks = self.progress.position, self._breaks
        try:
            looks = await self._everything() if everything else await self._of(dirty)
        except BaseException:
            self._all, self._dirty = self._all or everything, self._dirty | dirty
            raise
        if breaks != self._breaks:
            return  # what was read is of before; what is now is looked at next
        there = {id for id, shown in self._shown.items() if shown.text is not None}
        looks = {id: looks.get(id) for id in (there | dirty if everything else dirty) | looks.keys()}
        changed = self._change(looks, position)
        if not self._known:
            self.begun, self._known = position, True
        elif changed and position == self.position:
            # Of what was shown at this position before, nobody can tell this apart: who comes back has it whole.
            self.begun = position + 1
        self.position = position
        if changed or not self.ready:
            self._tell(None if not self.ready else changed)
        self.ready = True

    async def _everything(self) -> dict[str, str]:
        looks: dict[str, str] = {}
        after = ("", "")
        while rows := await self.tables.tools(after, PAGE):
            looks.update(_looks(rows))
            after = (rows[-1].entry.name, rows[-1].entry.id)
        return looks

    async def _of(self, ids: set[str]) -> dict[str, str]:
        looks: dict[str, str] = {}
        ordered = sorted(ids)
        for start in range(0, len(ordered), PAGE):
            looks.update(_looks(await self.tables.tools_with(ordered[start : start + PAGE])))
        return looks

    def _change(self, looks: Mapping[str, str | None], position: int) -> set[str]:
        """The ids of those that look different now."""
        changed: set[str] = set()
        for id, text in looks.items():
            before = self._shown.get(id)
            if (before.text if before is not None else None) != text:
                self._shown[id] = _Shown(text, self.version + 1, position)
                changed.add(id)
        return changed

    def _tell(self, changed: set[str] | None) -> None:
        self.version += 1
        self._made.clear()
        self._forget_the_gone()
        for watch in self._watches:
            if changed is None or watch.wanted is None or not watch.wanted.isdisjoint(changed):
                watch.wake()

    def _forget_the_gone(self) -> None:
        """The oldest first. Whoever has not seen them by now is shown the whole, as one who comes back later is."""
        gone = sorted((shown.version, id) for id, shown in self._shown.items() if shown.text is None)
        for version, id in gone[: max(0, len(gone) - MOST_GONE)]:
            self.forgotten = version
            self.begun = max(self.begun, self._shown.pop(id).position + 1)

    def whole(self, wanted: frozenset[str] | None) -> list[str]:
        return self._bodies(("whole",), wanted, lambda _: True, whole=True)

    def since_version(self, version: int, wanted: frozenset[str] | None) -> list[str]:
        return self._bodies(("version", version), wanted, lambda shown: shown.version > version)

    def since_position(self, position: int, wanted: frozenset[str] | None) -> list[str]:
        return self._bodies(("position", position), wanted, lambda shown: shown.position > position)

    def _bodies(
        self,
        key: tuple[object, ...],
        wanted: frozenset[str] | None,
        new: Callable[[_Shown], bool],
        *,
        whole: bool = False,
    ) -> list[str]:
        if wanted is not None:
            found = [(id, shown) for id in sorted(wanted) if (shown := self._shown.get(id)) and new(shown)]
            return _bodies(found, whole)
        if key not in self._made:
            self._made[key] = _bodies([each for each in self._shown.items() if new(each[1])], whole)
        return self._made[key]


def _looks(rows: Sequence[ToolRow]) -> dict[str, str]:
    return {row.entry.id: tool_shown(row.entry, row.engine, row.under_way).model_dump_json() for row in rows}


def _bodies(shown: Sequence[tuple[str, _Shown]], whole: bool) -> list[str]:
    """As `libs.contracts.live.States` has them, none longer than `LONGEST` unless one tool is."""
    pages: list[list[str]] = [[]]
    size = 0
    for _, each in shown:
        if each.text is None:
            continue
        if size > 0 and size + len(each.text) > LONGEST:
            pages.append([])
            size = 0
        pages[-1].append(each.text)
        size += len(each.text)
    gone = [f'"{id}"' for id, each in shown if each.text is None]
    if not whole and not pages[0] and not gone:
        return []
    return [
        f'{{"whole":{_word(whole and number == 1)},"more":{_word(number < len(pages))},"tools":[{",".join(page)}],'
        f'"gone":[{",".join(gone) if number == len(pages) else ""}]}}'
        for number, page in enumerate(pages, 1)
    ]


def _word(is_so: bool) -> str:
    return "true" if is_so else "false"
