"""Steps and lines that come by two ways are told in the order in which they happened, each of them once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clients.cli.transcript import PATIENCE, Transcript

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
WHY = "The build failed: its last lines say why."


def at(second: float) -> str:
    return (BEGIN + timedelta(seconds=second)).isoformat()


def step(name: str, begun: float, ended: float | None = None, state: str = "succeeded") -> dict[str, Any]:
    over = ended is not None
    return {
        "name": name,
        "state": state if over else "running",
        "started_at": at(begun),
        "ended_at": at(ended) if ended is not None else None,
    }


@pytest.fixture
def transcript() -> Transcript:
    return Transcript()


def hear(transcript: Transcript, *said: tuple[float, str], now: float = 0.0) -> None:
    for second, text in said:
        transcript.hear({"time": at(second), "text": text}, now)


def tell(transcript: Transcript, *steps: dict[str, Any], now: float = 0.0) -> list[str]:
    return [told.text for told in transcript.tell(steps, now, now)]


def end(transcript: Transcript, *steps: dict[str, Any], why: str | None = None) -> list[str]:
    error = None if why is None else {"code": "build_failed", "message": why}
    return [told.text for told in transcript.end({"steps": steps, "error": error})]


def test_a_step_begins_before_its_lines_and_ends_after_them(transcript: Transcript):
    hear(transcript, (1, "Cloning"), (3, "Step 1"), (4, "Step 2"))
    told = tell(transcript, step("fetch", 0, 2), step("build", 2.5, 5))
    assert told == [
        "● fetch: running",
        "Cloning",
        "● fetch: succeeded",
        "● build: running",
        "Step 1",
        "Step 2",
    ]
    assert tell(transcript, step("fetch", 0, 2), step("build", 2.5, 5), now=PATIENCE * 2) == ["● build: succeeded"]


def test_the_end_of_a_step_waits_for_the_lines_before_it(transcript: Transcript):
    steps = (step("fetch", 0, 2), step("build", 2.5))
    assert tell(transcript, *steps) == ["● fetch: running"]
    hear(transcript, (1, "Cloning"))
    assert tell(transcript, *steps) == ["Cloning"]
    hear(transcript, (3, "Step 1"))
    assert tell(transcript, *steps) == ["● fetch: succeeded", "● build: running", "Step 1"]


def test_the_end_of_a_step_without_a_later_line_does_not_wait_for_long(transcript: Transcript):
    steps = (step("build", 0, 2), step("start", 2.5))
    assert tell(transcript, *steps) == ["● build: running"]
    assert tell(transcript, *steps, now=PATIENCE * 2) == ["● build: succeeded", "● start: running"]


def test_a_line_waits_for_the_step_that_it_belongs_to(transcript: Transcript):
    hear(transcript, (3, "Step 1"))
    assert tell(transcript, step("fetch", 0, 2)) == ["● fetch: running", "● fetch: succeeded"]
    assert tell(transcript, step("fetch", 0, 2), step("build", 2.5)) == ["● build: running", "Step 1"]


def test_a_line_that_belongs_to_no_step_does_not_wait_for_long(transcript: Transcript):
    hear(transcript, (3, "in between"))
    assert tell(transcript, now=PATIENCE / 2) == []
    assert tell(transcript, now=PATIENCE * 2) == ["in between"]


def test_a_line_that_came_after_the_steps_were_asked_for_waits_for_the_next_look(transcript: Transcript):
    hear(transcript, (3, "Step 1"), now=10)
    steps = (step("build", 2.5),)
    assert [told.text for told in transcript.tell(steps, 9, 11)] == ["● build: running"]
    assert [told.text for told in transcript.tell(steps, 11, 12)] == ["Step 1"]


def test_nothing_is_told_twice(transcript: Transcript):
    hear(transcript, (1, "Cloning"))
    assert tell(transcript, step("fetch", 0)) == ["● fetch: running", "Cloning"]
    assert tell(transcript, step("fetch", 0)) == []
    assert end(transcript, step("fetch", 0, 2)) == ["● fetch: succeeded"]


def test_a_step_that_is_begun_again_is_told_again(transcript: Transcript):
    first = step("build", 0, 1, "failed")
    assert tell(transcript, first) == ["● build: running"]
    assert tell(transcript, first, step("build", 2)) == []
    assert tell(transcript, first, step("build", 2), now=PATIENCE * 2) == ["● build: failed", "● build: running"]


@pytest.mark.parametrize("looked", [True, False])
def test_why_it_failed_is_left_to_the_end_of_all(transcript: Transcript, looked: bool):
    failed, removed = step("build", 0, 2, "failed"), step("remove", 3, 4)
    hear(transcript, (1, "make: error"), (2.5, WHY))
    shown = tell(transcript, failed, now=PATIENCE * 2) if looked else []
    shown += end(transcript, failed, removed, why=WHY)
    assert shown == [
        "● build: running",
        "make: error",
        "● build: failed",
        "● remove: running",
        "● remove: succeeded",
    ]


def test_what_was_said_after_a_failed_step_is_told_when_it_was_not_the_last_word(transcript: Transcript):
    hear(transcript, (2.5, "it will try again"))
    failed = step("build", 0, 2, "failed")
    assert tell(transcript, failed, now=PATIENCE * 2) == ["● build: running", "● build: failed"]
    assert tell(transcript, failed, step("build", 3)) == ["it will try again", "● build: running"]


def test_another_sentence_than_the_one_that_says_why_is_not_lost(transcript: Transcript):
    hear(transcript, (2.5, "something else"))
    tell(transcript, step("build", 0, 2, "failed"), now=PATIENCE * 2)
    assert end(transcript, step("build", 0, 2, "failed"), why=WHY) == ["something else"]


def test_it_knows_which_lines_were_told(transcript: Transcript):
    hear(transcript, (1, "  one"), (1, ""), (1, "two"))
    tell(transcript, step("build", 0))
    assert transcript.has_told(["one", "", "two"])
    assert not transcript.has_told(["one", "three"])
