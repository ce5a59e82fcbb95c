"""The documents that other languages read say what the messages are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from libs.contracts.envelope import Message, envelop
from libs.contracts.permissions import permissions
from libs.contracts.schemas import SPEAKERS, asyncapi, json_schemas
from tests.contracts.samples import SAMPLES

SCHEMAS = json_schemas()
DOCUMENT = asyncapi()


@pytest.mark.parametrize("kind", SPEAKERS, ids=lambda kind: kind.__name__)
def test_every_message_says_itself_what_it_means(kind: type[Message]):
    """In its own words: a docstring that it only inherits is about something else."""
    own = kind.__dict__.get("__doc__") or ""
    assert len(own.split()) > 3
    assert DOCUMENT["components"]["messages"][kind.__name__]["summary"].startswith(own.split("\n")[0].strip()[:40])


@pytest.mark.parametrize("kind", SPEAKERS, ids=lambda kind: kind.__name__)
def test_every_message_is_spoken_by_somebody_who_exists(kind: type[Message]):
    senders, receivers = SPEAKERS[kind]
    assert senders
    assert set(senders) | set(receivers) <= set(permissions())


def test_every_registered_message_of_the_contracts_is_documented():
    ours = {kind for kind in Message.registry.values() if kind.__module__.startswith("libs.contracts.")}
    assert ours == set(SPEAKERS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_one(name: str):
    Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_as_it_is_sent_satisfies_its_schema(message: Message):
    event = json.loads(envelop(message, "test").encode())
    schema = SCHEMAS[f"{type(message).__name__}.json"]
    assert schema["$id"] == event["dataschema"]
    errors = [error.message for error in Draft202012Validator(schema).iter_errors(event["data"])]
    assert errors == []


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_as_it_is_sent_satisfies_the_asyncapi_document(message: Message):
    event = json.loads(envelop(message, "test", correlation="c", causation="c").encode())
    payload = DOCUMENT["components"]["messages"][type(message).__name__]["payload"]
    whole = {**payload, "components": DOCUMENT["components"]}
    assert [error.message for error in Draft202012Validator(whole).iter_errors(event)] == []
    assert set(event) <= set(payload["properties"])


def test_every_reference_of_the_asyncapi_document_leads_somewhere():
    for reference in references(DOCUMENT):
        node: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert node is not None


def test_every_parameter_of_a_channel_stands_in_its_address():
    for name, channel in DOCUMENT["channels"].items():
        assert channel["messages"], name
        for parameter in channel["parameters"]:
            assert f"{{{parameter}}}" in channel["address"]


def test_the_documents_are_the_same_each_time():
    assert json.dumps(asyncapi()) == json.dumps(DOCUMENT)
    assert json.dumps(json_schemas()) == json.dumps(SCHEMAS)


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        found = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return found + [each for value in node.values() for each in references(value)]
    if isinstance(node, list):
        return [each for value in node for each in references(value)]
    return []
