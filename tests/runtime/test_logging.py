"""Logs: one object a line, with its ids, without secrets, harmless to a terminal."""

import asyncio
import json
import logging as stdlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from libs.runtime import logging, tracing
from libs.runtime.logging import bind, get_logger
from libs.runtime.masking import inert, masked
from tests.support.growth import grows_with_its_input

CANARY = "canary-5f3a9c"

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    handlers, level = stdlib.root.handlers[:], stdlib.root.level
    logging.configure("info", "json")
    yield
    stdlib.root.handlers[:] = handlers
    stdlib.root.setLevel(level)
    stdlib.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_object_with_what_was_said(lines: Lines) -> None:
    get_logger("services.gateway.api").info("tool installed", tool="grafana-7f3kab", took=1.5)
    (line,) = lines()
    assert {key: line[key] for key in ("level", "logger", "event", "tool", "took")} == {
        "level": "info",
        "logger": "services.gateway.api",
        "event": "tool installed",
        "tool": "grafana-7f3kab",
        "took": 1.5,
    }
    assert line["timestamp"].endswith("Z")


def test_what_is_bound_stands_in_every_line_inside_and_in_none_after(lines: Lines) -> None:
    log = get_logger("test")
    with bind(service="installer"):
        with bind(operation="op-1", tool=None):
            log.info("inside")
        log.info("between")
    log.info("after")
    inside, between, after = lines()
    assert (inside["service"], inside["operation"], "tool" in inside) == ("installer", "op-1", False)
    assert (between["service"], "operation" in between) == ("installer", False)
    assert "service" not in after


async def test_tasks_inherit_what_was_bound_and_do_not_mix(lines: Lines) -> None:
    async def work(operation: str) -> None:
        with bind(operation=operation):
            await asyncio.sleep(0)
            get_logger("test").info("working")

    with bind(service="orchestrator"):
        await asyncio.gather(*(work(f"op-{number}") for number in range(3)))
    assert [(line["service"], line["operation"]) for line in lines()] == [
        ("orchestrator", f"op-{number}") for number in range(3)
    ]


def test_the_trace_stands_in_every_line_inside_it(lines: Lines) -> None:
    trace = tracing.new()
    with tracing.within(trace):
        get_logger("test").info("inside")
    get_logger("test").info("outside")
    inside, outside = lines()
    assert inside["trace"] == trace.trace_id
    assert "trace" not in outside


def test_libraries_log_the_same_way(lines: Lines) -> None:
    with bind(service="status"):
        stdlib.getLogger("nats").info("connected to %s", "nats://u:" + CANARY + "@host")
    stdlib.getLogger("uvicorn.error").info("of interest to its authors only")
    (line,) = lines()
    assert (line["logger"], line["level"], line["service"]) == ("nats", "info", "status")
    assert line["event"] == "connected to nats://***@host"


def test_an_exception_is_told_whole_and_in_one_line(lines: Lines) -> None:
    try:
        raise ValueError(f"https://user:{CANARY}@host/ failed")
    except ValueError:
        get_logger("test").exception("it broke")
    (line,) = lines()
    assert line["level"] == "error"
    assert "ValueError: https://***@host/ failed" in line["exception"]
    assert CANARY not in line["exception"]


def test_a_level_below_the_chosen_one_is_not_written(lines: Lines) -> None:
    get_logger("test-below").debug("too much")
    assert lines() == []


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize(
    "said",
    [
        {"token": CANARY},
        {"admin_token": CANARY},
        {"Authorization": CANARY},
        {"nats_password": CANARY},
        {"nested": {"list": [{"client_secret": CANARY}]}},
        {"url": f"https://user:{CANARY}@host/repo.git"},
        {"url": f"https://{CANARY}@host/repo.git"},
        {"url": f"https://user:p@ss{CANARY}@host/repo.git"},
        {"url": f"https://host/?access_token={CANARY}&x=1"},
        {"header": f"Authorization: Bearer {CANARY}"},
        {"header": f"authorization: basic {CANARY}="},
        {"protocol": f"machete.bearer.{CANARY}"},
        {"object": ValueError(f"https://user:{CANARY}@host/")},
    ],
)
def test_no_secret_gets_into_the_log(
    said: dict[str, Any], format: logging.Format, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.configure("info", format)
    get_logger("test").info("said", **said)
    written = capsys.readouterr().err
    assert "said" in written
    assert CANARY not in written


def test_what_is_no_secret_stays_readable() -> None:
    for text in (
        "ssh://git@github.com/owner/repo.git",
        "basic functions of the bearer",
        "https://host/path?ref=main&page=2",
        "mail me@host about http://host/",
    ):
        assert masked(text) == text


@pytest.mark.parametrize("repeated", ["bearer.", "basic ", "Bearer aaaaaa ", "://git@", "?key", "?token=", "://a:"])
def test_the_work_of_masking_grows_with_the_text(repeated: str) -> None:
    assert grows_with_its_input(lambda size: masked("http://" + repeated * size), 300)


def test_a_long_bearer_token_is_masked_whatever_it_is_made_of() -> None:
    for token in ("a" * 300, "a" * 300 + "1", "abcdef" + "." * 300 + "A"):
        assert masked(f"Bearer {token}") == "Bearer ***"
    assert masked("Bearer Bearer abcdef1") == "Bearer Bearer ***"


HOSTILE = "a\x1b[31mb\x07c\rd\ne\x9bf\x7fg\u202eh\u2028i"


@pytest.mark.parametrize("format", ["json", "console"])
def test_control_characters_reach_no_terminal(format: logging.Format, capsys: pytest.CaptureFixture[str]) -> None:
    logging.configure("info", format)
    get_logger("test").info(HOSTILE, key=HOSTILE, nested={"key": [HOSTILE]})
    written = capsys.readouterr().err.rstrip("\n")
    assert written
    assert all(character.isprintable() for character in written)


def test_a_traceback_keeps_its_lines_on_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    logging.configure("info", "console")
    try:
        raise ValueError("\x1b]0;title\x07")
    except ValueError:
        get_logger("test").exception("it broke")
    written = capsys.readouterr().err
    assert written.count("\n") > 2
    assert "\x1b" not in written
    assert "\\x1b]0;title\\x07" in written


def test_half_a_surrogate_pair_is_written_out(lines: Lines) -> None:
    get_logger("test").info("\ud800", key="\udfff")
    (line,) = lines()
    assert (line["event"], line["key"]) == ("\ud800", "\udfff")


def test_inert_text_can_be_told_apart_from_what_it_was() -> None:
    assert inert("a\tb\nc\x1b") == "a\\tb\\nc\\x1b"
    assert inert("größe 漢字 🔧") == "größe 漢字 🔧"
    assert inert("a\nb", keep="\n") == "a\nb"
