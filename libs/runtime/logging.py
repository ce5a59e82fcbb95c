"""Logs: one JSON object a line on stderr, with the ids of what is being worked on.

What is logged inside `bind(operation=..., tool=...)` carries those ids, also in tasks begun there;
the service and the trace come along in the same way. The standard library's loggers (uvicorn, nats,
faststream) end in the same place. Control characters are inert, secrets are masked.
"""

import logging
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from libs.runtime import tracing
from libs.runtime.masking import inert, is_secret_key, masked, to_json

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["json", "console"]

# Their news at level info are ours already, or of interest to their authors only.
_CHATTY = ("uvicorn", "faststream", "httpx", "httpcore", "urllib3", "docker", "git", "websockets", "asyncio")

_ids: ContextVar[Mapping[str, str]] = ContextVar("machete_log_ids", default=MappingProxyType({}))
# Changed in place: loggers that were used before keep hold of this very list.
_processors: list[Processor] = []


def get_logger(name: str) -> FilteringBoundLogger:
    return cast(FilteringBoundLogger, structlog.get_logger(logger=name))


@contextmanager
def bind(**ids: str | None) -> Generator[None]:
    """Everything logged inside carries these ids, over those bound outside; a None is left out."""
    before = _ids.get()
    _ids.set({**before, **{key: value for key, value in ids.items() if value is not None}})
    try:
        yield
    finally:
        # Not `reset`: a generator may be finished in another context than it was begun in.
        _ids.set(before)


def bound() -> Mapping[str, str]:
    return _ids.get()


def configure(level: Level = "info", format: Format = "json") -> None:
    """Once a process; a second call replaces the first, for loggers not yet used also the level."""
    render = _as_json if format == "json" else _Console(colors=sys.stderr.isatty())
    _processors[:] = [_with_ids, structlog.processors.format_exc_info, _without_secrets, render]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=_processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _Stderr(),
        cache_logger_on_first_use=True,
    )
    logging.root.handlers[:] = [_Captured()]
    logging.root.setLevel(threshold)
    theirs = logging.DEBUG if level == "debug" else max(threshold, logging.WARNING)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(theirs)
    logging.captureWarnings(True)


class _Stderr:
    """Looks up `sys.stderr` for each line, so a logger that was kept does not keep a replaced stream."""

    def write(self, line: str) -> None:
        try:
            sys.stderr.write(line + "\n")
        except (OSError, ValueError):
            # Nobody reads the log any more; that is no reason to stop the work it tells of.
            return

    debug = info = warning = warn = error = critical = fatal = exception = msg = write


class _Captured(logging.Handler):
    """Takes what libraries log through the standard library the same way as our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event: Any = {"event": record.getMessage(), "logger": record.name}
            if record.exc_info:
                event["exc_info"] = record.exc_info
            for process in _processors:
                event = process(None, record.levelname.lower(), event)
            _Stderr().write(event)
        except Exception:  # noqa: BLE001 - a line that cannot be logged is reported as logging does
            self.handleError(record)


def _with_ids(_logger: object, method: str, event: EventDict) -> EventDict:
    trace = tracing.current()
    complete: EventDict = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": "error" if method == "exception" else method,
    }
    if trace is not None:
        complete["trace"] = trace.trace_id
    return {**complete, **_ids.get(), **event}


def _without_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {key: _hidden(key, value) for key, value in event.items()}


def _hidden(key: str, value: Any) -> Any:
    if value and is_secret_key(key):
        return "***"
    if isinstance(value, Mapping):
        inner = cast(Mapping[object, Any], value)
        return {str(name): _hidden(str(name), part) for name, part in inner.items()}
    if isinstance(value, list | tuple):
        return [_hidden("", part) for part in cast(list[Any], value)]
    return value


def _as_json(_logger: object, _method: str, event: EventDict) -> str:
    return masked(to_json(event))


class _Console:
    def __init__(self, colors: bool) -> None:
        self._render = structlog.dev.ConsoleRenderer(colors=colors)

    def __call__(self, logger: Any, method: str, event: EventDict) -> str:
        texts = {key: masked(value) for key, value in event.items() if isinstance(value, str)}
        safe = {key: inert(text, keep="\n" if key == "exception" else "") for key, text in texts.items()}
        return str(self._render(logger, method, {**event, **safe}))
