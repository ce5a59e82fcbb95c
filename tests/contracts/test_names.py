"""Names and ids are single, harmless tokens everywhere, and derived ones are the same on every machine."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from libs.contracts.names import (
    OperationId,
    Token,
    ToolId,
    ToolName,
    derived_word,
    is_operation_id,
    is_tool_id,
    is_tool_name,
    new_operation_id,
    random_word,
    tool_id,
)

NAMES: TypeAdapter[str] = TypeAdapter(ToolName)
IDS: TypeAdapter[str] = TypeAdapter(ToolId)
OPERATIONS: TypeAdapter[str] = TypeAdapter(OperationId)
TOKENS: TypeAdapter[str] = TypeAdapter(Token)

HOSTILE = [
    "",
    " ",
    ".",
    "..",
    "*",
    ">",
    "a.b",
    "a b",
    "a/b",
    "../a",
    "a\\b",
    "a\n",
    "\na",
    "a\x00",
    "a*",
    ">a",
    "ä",
    "a\u200b",
    "ａ",
    "a$b",
    "$JS.API.>",
    "a'b",
    'a"b',
    "a;b",
    "{tool}",
    "a" * 129,
]


def takes(kind: TypeAdapter[str], text: str) -> bool:
    try:
        kind.validate_python(text)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_could_bend_a_subject_or_a_path_is_a_name(text: str):
    assert not any(takes(kind, text) for kind in (NAMES, IDS, OPERATIONS, TOKENS))
    assert not is_tool_name(text)
    assert not is_tool_id(text)
    assert not is_operation_id(text)


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a" * 40, "a--b", "7zip"])
def test_a_plain_slug_is_a_name(name: str):
    assert takes(NAMES, name)
    assert is_tool_name(name)


@pytest.mark.parametrize("name", ["-a", "a-", "A", "a_b", "a" * 41, "-"])
def test_what_is_no_slug_is_no_name(name: str):
    assert not takes(NAMES, name)
    assert not is_tool_name(name)


@given(st.text(max_size=60))
def test_both_ways_of_asking_agree(text: str):
    assert takes(NAMES, text) == is_tool_name(text)
    assert takes(IDS, text) == is_tool_id(text)
    assert takes(OPERATIONS, text) == is_operation_id(text)


@given(st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z"), st.text(), st.integers(0, 10))
def test_every_tool_that_may_have_a_name_gets_an_id_that_holds_it(name: str, key: str, attempt: int):
    made = tool_id(name, new_operation_id("user:admin", key), attempt)
    assert is_tool_id(made)
    assert takes(IDS, made)
    assert takes(TOKENS, made)
    assert made.rpartition("-")[0] == name


@given(st.text(), st.text() | st.none())
def test_an_operation_has_an_id_whatever_the_key(principal: str, key: str | None):
    made = new_operation_id(principal, key)
    assert is_operation_id(made)
    assert (new_operation_id(principal, key) == made) == (key is not None)


def test_derived_words_are_the_same_for_ever():
    """Ids made by an earlier version are found again by a later one."""
    assert new_operation_id("user:admin", "key") == "op-6uzlsxhcwankhvw4thrybtjbui"
    assert tool_id("lathe", "op-6uzlsxhcwankhvw4thrybtjbui") == "lathe-str2gk"


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_different_parts_make_different_words(first: list[str], second: list[str]):
    assert (derived_word(26, *first) == derived_word(26, *second)) == (first == second)


def test_the_same_key_of_another_principal_is_another_operation():
    assert new_operation_id("user:a", "key") != new_operation_id("user:b", "key")
    assert tool_id("lathe", "op", 0) != tool_id("lathe", "op", 1)


def test_random_words_use_the_whole_alphabet():
    seen = set("".join(random_word(26) for _ in range(200)))
    assert seen == set("abcdefghijklmnopqrstuvwxyz234567")
    assert re.fullmatch("[a-z2-7]{8}", random_word(8))
