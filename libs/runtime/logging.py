"""Logs: one JSON object a line on stderr, with the ids of what is being worked on.

What is logged inside `bind(operation=..., tool=...)` carries those ids, also in tasks begun there;
the service and the trace come along in the same way. The standard library's loggers (uvicorn, nats,
faststream) end in the same place. Control characters are inert, secrets are masked.
"""

import logging
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, cast

import structlog
from pydantic import BaseModel
from structlog.processors import format_exc_info
from structlog.typing import EventDict, FilteringBoundLogger

from libs.runtime import tracing
from libs.runtime.masking import MASK, inert, is_secret_key, masked, to_json

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]

# Their news at level info are ours already, or of interest to their authors only.
_CHATTY = ("uvicorn", "faststream", "httpx", "httpcore", "urllib3", "docker", "git", "websockets", "asyncio")
_PLAIN = frozenset({str, int, float, bool, type(None)})

_ids: ContextVar[Mapping[str, str]] = ContextVar("machete_log_ids", default=MappingProxyType({}))


class bind:
    """`with bind(operation=...)`: what is logged inside carries these ids, over those bound outside.

    A None is left out. May be entered in one task and left in another, as generators sometimes are.
    """

    __slots__ = ("_before", "_given")

    def __init__(self, **ids: str | None) -> None:
        self._given = ids

    def __enter__(self) -> None:
        self._before = before = _ids.get()
        _ids.set({**before, **{key: value for key, value in self._given.items() if value is not None}})

    def __exit__(self, *_: object) -> None:
        _ids.set(self._before)


def bound() -> Mapping[str, str]:
    """The ids bound here."""
    return _ids.get()


def get_logger(name: str) -> FilteringBoundLogger:
    return cast(FilteringBoundLogger, structlog.get_logger(name))


def configure(level: Level = "info", format: Format = "json") -> None:
    """Once a process; a second call replaces the first, but loggers that were used keep their level."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    _Output.render = _as_json if format == "json" else _Console(colors=sys.stderr.isatty())
    _Output.threshold = threshold
    structlog.configure(
        processors=[_to_output],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=_Output,
        cache_logger_on_first_use=True,
    )
    logging.root.handlers[:] = [_Captured()]
    logging.root.setLevel(threshold)
    theirs = logging.DEBUG if level == "debug" else max(threshold, logging.WARNING)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(theirs)
    logging.captureWarnings(True)


class _Output:
    """Where one logger's lines go. How they look is the class's business: `configure` sets it for all."""

    render: Callable[[EventDict], str]
    threshold = logging.INFO

    def __init__(self, name: str = "") -> None:
        self.name = name

    def write(self, level: str, event: Mapping[str, Any]) -> None:
        """One line with everything bound here."""
        trace = tracing.current()
        complete: EventDict = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": level,
            "logger": self.name,
            **({"trace": trace.trace_id} if trace is not None else {}),
            **_ids.get(),
            **event,
        }
        if "exc_info" in complete:
            complete = dict(format_exc_info(None, level, complete))
        line = type(self).render(_without_secrets(complete))
        try:
            # Looked up each time, so that a logger which was kept does not keep a replaced stream.
            sys.stderr.write(line + "\n")
        except (OSError, ValueError):
            # Nobody reads the log any more; that is no reason to stop the work it tells of.
            return

    def _drop(self) -> None:
        """The line is written already; structlog calls a method of the level's name at the end."""

    debug = info = warning = error = critical = _drop


def _to_output(output: _Output, method: str, event: EventDict) -> tuple[tuple[()], dict[str, Any]]:
    output.write("error" if method == "exception" else method, event)
    return (), {}


class FastLine:
    """For one line a request: `write(event)` at level info, a third of a logger's cost, nothing left out."""

    def __init__(self, name: str) -> None:
        self._output = _Output(name)

    def write(self, event: Mapping[str, Any]) -> None:
        if _Output.threshold <= logging.INFO:
            self._output.write("info", event)


class _Captured(logging.Handler):
    """Takes what libraries log through the standard library the same way as our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event: dict[str, Any] = {"event": record.getMessage()}
            if record.exc_info:
                event["exc_info"] = record.exc_info
            _Output(record.name).write(record.levelname.lower(), event)
        except Exception:
            self.handleError(record)


def _without_secrets(event: EventDict) -> EventDict:
    suspects = [key for key, value in event.items() if type(value) not in _PLAIN or is_secret_key(key)]
    for key in suspects:
        event[key] = _hidden(key, event[key])
    return event


def _hidden(key: str, value: Any) -> Any:
    if value and is_secret_key(key):
        return MASK
    if type(value) in _PLAIN:
        return value
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        inner = cast(Mapping[object, Any], value)
        return {str(name): _hidden(str(name), part) for name, part in inner.items()}
    if isinstance(value, list | tuple):
        return [_hidden("", part) for part in cast(list[Any], value)]
    return str(value)


def _as_json(event: EventDict) -> str:
    return masked(to_json(event))


class _Console:
    def __init__(self, colors: bool) -> None:
        self._render = structlog.dev.ConsoleRenderer(colors=colors)

    def __call__(self, event: EventDict) -> str:
        texts = {key: masked(value) for key, value in event.items() if isinstance(value, str)}
        safe = {key: inert(text, keep="\n" if key == "exception" else "") for key, text in texts.items()}
        return str(self._render(None, event["level"], {**event, **safe}))


_Output.render = _as_json
