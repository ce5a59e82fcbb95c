"""Subjects are built and parsed in one place, and no value can add a level or a wildcard."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.contracts import streams, subjects
from libs.contracts.envelope import Message
from libs.contracts.names import TOKEN
from libs.contracts.streams import STREAMS
from libs.contracts.subjects import COMMAND, LOG, RECORD, TASK, BadSubject, Subject, lane
from tests.contracts.samples import SAMPLES
from tests.contracts.test_names import HOSTILE

ROOT = Path(__file__).parents[2]
tokens = st.from_regex(rf"\A{TOKEN}\Z")
FORMS = [
    *(each for each in vars(subjects).values() if isinstance(each, Subject)),
    *COMMAND.values(),
    *TASK.values(),
]
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.template)


@every_form
@given(data=st.data())
def test_what_was_built_is_parsed_to_what_it_was_built_from(form: Subject, data: st.DataObject):
    values = {field: data.draw(tokens) for field in form.fields}
    subject = form.build(values)
    assert form.parse(subject) == values
    assert form.takes(subject)
    assert matches(form.filter(), subject)
    assert subject.count(".") == form.template.count(".")


@every_form
@pytest.mark.parametrize("value", [value for value in HOSTILE if not re.fullmatch(TOKEN, value)])
def test_a_value_that_is_no_token_stands_in_no_subject(form: Subject, value: str):
    for field in form.fields:
        with pytest.raises(BadSubject, match="token"):
            form.build({**dict.fromkeys(form.fields, "x"), field: value})


@pytest.mark.parametrize("value", ["{operation}", "{tool}", 7, None, True])
def test_values_are_taken_as_text_and_never_as_templates(value: object):
    values: Mapping[str, object] = {"tool": value, "operation": "op"}
    try:
        built = RECORD.build(values)
    except BadSubject:
        return
    assert RECORD.parse(built)["tool"] == str(value)


@given(st.text(max_size=80))
def test_no_text_at_all_breaks_the_parser(text: str):
    for form in FORMS:
        assert form.takes(text) == parses(form, text)


def parses(form: Subject, text: str) -> bool:
    try:
        form.parse(text)
    except BadSubject:
        return False
    return True


@pytest.mark.parametrize(
    "subject",
    [
        "machete.evt.v1.tool.a.operation",
        "machete.evt.v1.tool.a.operation.b.c",
        "machete.evt.v1.tool..operation.b",
        "machete.evt.v1.tool.a.operation.b\n",
        "xmachete.evt.v1.tool.a.operation.b",
        "machete.evt.v2.tool.a.operation.b",
        "machetexevt.v1.tool.a.operation.b",
        "machete.evt.v1.tool.*.operation.>",
    ],
)
def test_a_subject_of_another_form_is_not_parsed(subject: str):
    with pytest.raises(BadSubject, match="is not of the form"):
        RECORD.parse(subject)


def test_a_filter_fills_in_what_is_known():
    assert RECORD.filter(tool="lathe") == "machete.evt.v1.tool.lathe.operation.*"
    assert LOG.filter(source="web") == "machete.log.v1.*.web"


@given(tokens)
def test_a_lane_holds_every_command_of_its_tool_and_of_no_other(tool: str):
    for form in COMMAND.values():
        assert matches(lane(tool), form.build({"tool": tool}))
        assert not matches(lane(tool), form.build({"tool": f"{tool[:100]}x"}))


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_every_message_has_one_stream_that_takes_it_or_is_a_question(message: Message):
    taking = [stream for stream in STREAMS if any(matches(each, message.subject) for each in stream.subjects)]
    assert len(taking) == (0 if message.subject.startswith("machete.qry.") else 1)


def test_every_command_and_every_task_has_exactly_one_consumer():
    """One that nobody takes would stay at the head of its tool for ever."""
    for stream in (streams.COMMANDS, streams.TASKS):
        filters = [each for consumer in stream.consumers for each in consumer.filters]
        assert sorted(filters) == sorted(stream.subjects)
        assert all(consumer.max_ack_pending > (stream.in_all or 0) for consumer in stream.consumers)


def test_no_two_forms_take_the_same_subject():
    built = {form.build(dict.fromkeys(form.fields, "x")): form for form in FORMS if form is not subjects.QUERY}
    for subject in built:
        assert sum(form.takes(subject) for form in built.values()) == 1


def test_nobody_else_names_a_subject():
    """`machete.<kind>.v1.` stands in the contracts alone, so that a form can be changed in one place."""
    literal = re.compile(r"""["']machete\.(cmd|evt|state|log|dlq|task|qry)\.v1""")
    folders = ("clients", "deploy", "libs/runtime", "services")
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for folder in folders
        for file in (ROOT / folder).rglob("*.py")
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if literal.search(line)
    ]
    assert found == []


def matches(pattern: str, subject: str) -> bool:
    """As the server decides it."""
    wanted, given = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        return len(given) >= len(wanted) and matches(".".join(wanted[:-1]), ".".join(given[: len(wanted) - 1]))
    return len(wanted) == len(given) and all(each in ("*", token) for each, token in zip(wanted, given, strict=True))
