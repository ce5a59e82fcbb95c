"""Documents, hostile ones among them: each is read at a bounded cost or refused with a plain word."""

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from libs.contracts.written import InvalidManifest, Written
from services.installer.domain import yaml_document
from services.installer.domain.manifests import read_document
from tests.support.growth import grows_with_its_input

SCALARS = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
DATA = st.recursive(
    SCALARS | TEXTS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)


def plain(node: Written) -> Any:
    if isinstance(node.value, tuple):
        return [plain(child) for child in node.value]
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    return node.value


def read(text: str | bytes, file: str = "machete.yml") -> Any:
    return plain(read_document(text if isinstance(text, bytes) else text.encode(), file))


def refusal(text: str | bytes, file: str = "machete.yml") -> str:
    with pytest.raises(InvalidManifest) as refused:
        read(text, file)
    return refused.value.message


@given(DATA)
def test_json_means_what_the_standard_reader_says(data: Any) -> None:
    for text in (json.dumps(data), json.dumps(data, indent="\t", ensure_ascii=False)):
        if not any(ord(char) in range(0x7F, 0xA0) for char in text):
            assert read(text, "tool.json") == data


@given(DATA)
def test_yaml_that_a_writer_made_comes_back(data: Any) -> None:
    assert read(yaml.dump(data, Dumper=yaml.SafeDumper, allow_unicode=False)) == data


@given(st.binary(max_size=200) | st.text("{}[]:,-&*!<|>'\"\\ \n\tab1#%@`?", max_size=60).map(str.encode))
@pytest.mark.parametrize("file", ["machete.yml", "tool.json"])
def test_whatever_the_bytes_are_there_is_a_document_or_a_refusal(file: str, raw: bytes) -> None:
    try:
        assert isinstance(read_document(raw, file), Written)
    except InvalidManifest as refused:
        assert str(refused.faults[0]).startswith(file)  # noqa: PT017
        assert refused.message.isprintable()  # noqa: PT017


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_both_parsers_of_yaml_read_alike(loader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_document, "_LOADER", getattr(yaml, loader))
    text = "a: &x {port: 80, on: yes}\nb:\n  <<: *x\n  port: 81\nc: '80'\nd: !!str 80\ne: >\n  12\n"
    assert read(text) == {
        "a": {"port": 80, "on": "yes"},
        "b": {"port": 81, "on": "yes"},
        "c": "80",
        "d": "80",
        "e": "12\n",
    }
    assert refusal("a:\n\tb: 1") == "machete.yml:2: YAML is indented with spaces, never with tabs"


def bomb() -> str:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for this, last in zip("bcdefghij", "abcdefghi", strict=True):
        lines.append(f"{this}: &{this} [{', '.join([f'*{last}'] * 10)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (bomb(), "with its aliases this holds more than"),
        ("x: &x " + "y" * 60_000 + "\nz: [" + ", ".join(["*x"] * 10) + "]", "with its aliases this holds more than"),
        ("a: &a [*a]", "stands for nothing that ended before it"),
        ("[" * 100_000, "nested more than 40 deep"),
        ("{a: " * 1000, "nested more than 40 deep"),
        ("- " * 1000 + "a", "nested more than 40 deep"),
        ("a: " + "x" * 200_000, "the file is larger than 128 KiB"),
        ("a: 1\nb: 2\na: 3", '"a": this key stands twice, first on line 1'),
        ("a: 1\n--- \nb: 2", "a second document starts here"),
        ("a: !!python/object/apply:os.getcwd []", "the tag"),
        ("a: !include x", "the tag"),
        ("? [a]\n: b", "a key is a single word or text"),
        ("<<: 5", "<< takes over a mapping"),
        ("", "the file is empty"),
        ("  \n# only words\n", "there is nothing but comments"),
        ("a: 'x", "this is no YAML"),
        ("a: b: c", "this is no YAML"),
        ("a: \x07", "there is a control character (U+0007)"),
        ("a: \x1b[31m", "there is a control character (U+001B)"),
        ('a: "\\0"', "a text holds no NUL"),
        ("name: größe".encode("latin-1"), "byte 0xf6 is no UTF-8"),
        ("name: x".encode("utf-16"), "is no UTF-8"),
    ],
)
def test_a_hostile_yaml_is_refused_quickly_and_plainly(text: str | bytes, word: str) -> None:
    before = time.process_time()
    assert word in refusal(text)
    assert time.process_time() - before < 2


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[" * 100_000, "nested more than 40 deep"),
        ('{"a": 1, "a": 2}', '"a": this key stands twice'),
        ('{"a": 1} x', "expected nothing more after the document"),
        ('{"a": 1,}', "expected a text in double quotes"),
        ("{'a': 1}", "expected a text in double quotes"),
        ('{"a": NaN}', "expected a value"),
        ('{"a": 01}', "expected ,"),
        ('{"a": "x', "this is no JSON"),
        ('{"a": "x\ny"}', "this is no JSON"),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ('{"a": "\\u0000"}', "a text holds no NUL"),
        ("{", "found the end of the file"),
    ],
)
def test_a_hostile_json_is_refused_plainly(text: str, word: str) -> None:
    assert word in refusal(text, "tool.json")


def test_a_byte_order_mark_and_windows_line_ends_are_no_trouble() -> None:
    assert read(b"\xef\xbb\xbfa: 1\r\nb: x\r\n") == {"a": 1, "b": "x"}


def test_a_number_too_large_to_be_one_stays_a_text() -> None:
    assert read("a: " + "9" * 5000) == {"a": "9" * 5000}
    assert read('{"a": 1e999}', "tool.json") == {"a": "1e999"}


@pytest.mark.parametrize(
    ("file", "before", "repeated", "after"),
    [
        ("machete.yml", "a: ", "1", "x"),
        ("machete.yml", "a: 1e", "1", "x"),
        ("machete.yml", "a: .", "1", "x"),
        ("tool.json", '{"a": ', "1", "}"),
        ("tool.json", '{"a": 1.', "1", "}"),
        ("tool.json", '{"a": 1e', "1", "}"),
    ],
)
def test_the_work_on_a_number_grows_with_its_length(file: str, before: str, repeated: str, after: str) -> None:
    assert grows_with_its_input(lambda size: read(before + repeated * size + after, file), 1000)
