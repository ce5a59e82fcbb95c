"""What is said arrives as it was said, or is refused with a reason."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.contracts.envelope import SCHEMA_PREFIX, Message, Undecodable, decode, envelop
from libs.contracts.schemas import SPEAKERS
from tests.contracts.samples import SAMPLES, TOOL

every_message = pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
START = SAMPLES[1]


def wire(message: Message = START, **changed: Any) -> bytes:
    """As it is sent, with some of it different; a field set to None is left out."""
    fields = {**json.loads(envelop(message, "test").encode()), **changed}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def test_there_is_a_sample_of_every_message():
    assert {type(sample) for sample in SAMPLES} == set(SPEAKERS)


@every_message
def test_a_message_arrives_as_it_was_sent(message: Message):
    sent = envelop(message, "test/1", id="id-1", correlation="op", causation="cmd")
    assert decode(sent.encode(), message.subject) == sent


@every_message
def test_a_message_on_the_wire_is_a_cloud_event(message: Message):
    event = json.loads(envelop(message, "test/1").encode())
    assert event["specversion"] == "1.0"
    assert event["type"] == type(message).type
    assert event["subject"] == message.subject
    assert event["dataschema"] == SCHEMA_PREFIX + type(message).__name__
    assert event["datacontenttype"] == "application/json"
    assert all(isinstance(event[name], str) and event[name] for name in ("id", "source", "time"))


@every_message
def test_what_a_newer_sender_adds_is_passed_over(message: Message):
    data = {**json.loads(envelop(message, "test").encode())["data"], "added_later": {"a": 1}}
    assert decode(wire(message, data=data, alsonew="x")).data == message


@every_message
def test_a_message_is_believed_only_on_its_own_subject(message: Message):
    with pytest.raises(Undecodable, match="came on"):
        decode(wire(message), f"{message.subject}.more")


def test_a_command_for_one_tool_is_not_believed_in_the_lane_of_another():
    with pytest.raises(Undecodable, match="came on"):
        decode(wire(), START.subject.replace(TOOL, "other-abc234"))


@every_message
def test_nothing_in_a_message_can_be_changed(message: Message):
    field = next(iter(type(message).model_fields))
    with pytest.raises(ValueError, match="frozen"):
        setattr(message, field, getattr(message, field))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 10_000,
        b"1" * 10_000,
        b'{"specversion":"1.0"',
        wire(specversion="2.0"),
        wire(id=""),
        wire(id="x" * 201),
        wire(source=""),
        wire(type="machete.command.unheard-of.v1"),
        wire(type=["machete.command.start-tool.v1"]),
        wire(time="yesterday"),
        wire(time="2026-11-21T09:08:07"),
        wire(data=[]),
        wire(data="x"),
        wire(data={}),
        wire(data={"tool": None}),
    ],
)
def test_what_is_no_message_is_refused_with_a_reason(raw: bytes):
    with pytest.raises(Undecodable) as refused:
        decode(raw)
    assert 5 < len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tool", "../../etc"),
        ("tool", "lathe.>"),
        ("tool", "lathe-abc234\n"),
        ("tool", "*"),
        ("operation", "op-short"),
        ("operation", 7),
        ("tool_name", "Lathe"),
        ("requested_by", {"kind": "god", "name": "x", "role": "admin"}),
        ("requested_by", "user:admin"),
        ("digest", None),
    ],
)
def test_a_value_that_a_message_cannot_have_is_refused_and_named(field: str, value: object):
    data = {**json.loads(wire())["data"], field: value}
    with pytest.raises(Undecodable, match=field):
        decode(wire(data=data))


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_at_all_break_the_reader(raw: bytes):
    with pytest.raises(Undecodable):
        decode(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)


@given(st.sampled_from(SAMPLES), st.data())
def test_any_value_in_any_place_is_taken_or_refused(message: Message, data: st.DataObject):
    fields = json.loads(wire(message))
    where = data.draw(st.sampled_from([fields, fields["data"]] if fields["data"] else [fields]))
    where[data.draw(st.sampled_from(sorted(where)))] = data.draw(json_values)
    try:
        decoded = decode(json.dumps(fields).encode())
    except Undecodable:
        return
    assert decode(decoded.encode()) == decoded


def test_times_keep_their_microseconds_and_their_zone():
    sent = envelop(START, "test")
    received = decode(sent.encode())
    assert received.time == sent.time
    assert received.time.utcoffset() == timedelta(0)


def test_two_messages_cannot_have_one_type():
    with pytest.raises(TypeError, match="both call themselves"):
        type("Impostor", (Message,), {"type": type(START).type, "subject_form": START.subject_form})
