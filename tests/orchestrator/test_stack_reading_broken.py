"""Stacks that are broken or built to do harm are refused at once, with file, line and reason."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.contracts.problems import Failure
from services.orchestrator.domain.stacks import compose_yaml
from tests.support.stack_files import check, failure_of

LAUGHS = "x-0: &a0 [" + ", ".join("a" * 9) + "]\n"
LAUGHS += "".join(f"x-{n}: &a{n} [{', '.join(f'*a{n - 1}' for _ in range(9))}]\n" for n in range(1, 9))
MERGES = "x-0: &a0 {" + ", ".join(f"k{n}: 1" for n in range(9)) + "}\n"
MERGES += "".join(f"x-{n}: &a{n} {{<<: [{', '.join(f'*a{n - 1}' for _ in range(9))}]}}\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("services: {a: {image: x}", 1, "this is no YAML"),
        ("services:\n  a:\n    image: x\n\tports: []", 4, "this is no YAML"),
        ("services:\n  a: {image: x, image: y}", 2, 'the key "image" stands twice, first on line 2'),
        ("services: {a: {image: x}}\nservices: {b: {image: x}}", 2, 'the key "services" stands twice'),
        ("services: {a: {<<: {a: b}, <<: {a: c}}}", 1, 'the key "<<" stands twice'),
        ("services: {a: {<<: text}}", 1, "<< takes over a mapping"),
        ("x-a: &a [*a]\nservices: {}", 1, "*a stands for nothing that ended before it"),
        ("services: {a: {? [b, c] : d}}", 1, "a key is a plain word"),
        ("services: !new {a: {image: x}}", 1, 'the tag "!new" is not read'),
        ("%YAML 1.2\n---\nservices: {a: {image: x}}", 1, "lines that begin with % are not read"),
        ("- services", 1, "a Compose file is a mapping"),
        ("services: {a: {image: x}}\n---\ntext", 3, "a Compose file is a mapping"),
        ("include: b.yml\nservices: {a: {image: x}}", 1, "include is a list"),
        ("include: [[b.yml]]\nservices: {a: {image: x}}", 1, "include[0]: here stands a path"),
        ("include:\n- path: b.yml\n  new: 1\nservices: {a: {image: x}}", 2, "an include has only path"),
        ("services:\n  a: {env_file: {deep: {path: x}}}\n  b: {env_file: [[x]]}", 3, "here stands a path"),
        ("services: {a: {image: x}}\n# \x1b[31m", 2, "U+001B"),
        ("services: {a: {image: x}}\n# \u2029", 2, "U+2029"),
        ("services: {a: {image: x}}\n# \ufeff", 2, "U+FEFF"),
        (b"services: {a: {image: x}}\n# \xff", 2, "0xff is no UTF-8"),
        ("services: {a: {image: x}}".encode("utf-16"), 1, "no UTF-8"),
        ("services: {a: {image: x}}".encode("utf-16-be"), 1, "U+0000"),
        ("# " + "a" * 1024 * 1024, None, "larger than 1024 KiB"),
        ("services: " + "[" * 70 + "]" * 70, 1, "nested more than 60 deep"),
        ("x-a: " + "[" * 300_000, 1, "nested more than 60 deep"),
        (LAUGHS + "services: {a: {image: x}}", 6, "more than 100000 values"),
        (MERGES + "services: {a: {image: x}}", 5, "more than 100000 values"),
        ("", None, "it has no services"),
        ("volumes: {v: }", None, "it has no services"),
        ("services: {}", None, "it has no services"),
        ("services:\n  a:\n    extends: a", 3, "services.a: a extends itself by way of a"),
        ("services:\n  a: {extends: {service: b}}\n  b: {extends: a}", 3, "a extends itself by way of b"),
    ],
    ids=lambda value: str(value)[:40].encode("ascii", "backslashreplace").decode(),
)
def test_a_broken_file_is_refused_with_file_line_and_reason(content: str | bytes, line: int | None, said: str) -> None:
    failure = failure_of({"compose.yaml": content})

    assert failure.code == "compose_invalid"
    assert failure.message.startswith(f"compose.yaml:{line}: " if line else "compose.yaml: ")
    assert said in failure.message
    assert failure.detail == {"file": "compose.yaml", "line": line}


def test_files_that_include_each_other_are_refused() -> None:
    files = {"compose.yaml": "include: [b/c.yml]", "b/c.yml": "include: [../compose.yaml]\nservices: {a: {image: x}}"}

    assert failure_of(files).code == "compose_invalid"


def test_files_that_extend_each_others_services_in_a_circle_are_refused() -> None:
    files = {
        "compose.yaml": "services: {a: {extends: {file: b.yml, service: b}}}",
        "b.yml": "services:\n  b: {extends: {file: ./compose.yaml, service: a}}",
    }

    assert "extends itself" in failure_of(files).message


@pytest.mark.parametrize(("deep", "passes"), [(19, True), (20, False)])
def test_files_are_included_at_most_twenty_deep(deep: int, passes: bool) -> None:
    files = {f"{n}.yml": f"include: [{n + 1}.yml]" for n in range(1, deep)}
    files |= {"compose.yaml": "include: [1.yml]", f"{deep}.yml": "services: {a: {image: x}}"}

    if passes:
        check(files)
    else:
        assert "more than 20 deep" in failure_of(files).message


def test_a_file_that_includes_very_many_is_refused() -> None:
    names = [f"{n}.yml" for n in range(300)]
    files = {"compose.yaml": f"include: [{', '.join(names)}]", **dict.fromkeys(names, "services: {a: {image: x}}")}

    assert failure_of(files).code == "compose_invalid"


def test_a_repository_without_the_file_is_told_so() -> None:
    failure = failure_of({}, "app/compose.yaml")

    assert failure.message == "app/compose.yaml: there is no such file."


_TREES: Any = st.recursive(
    st.sampled_from(["x", "/etc/passwd", "", "null", "${X}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["path", "env_file", "file", "service", "extends", "project_directory"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(tree=_TREES, section=st.sampled_from(["include", "services"]))
def test_whatever_stands_there_is_read_or_refused_and_never_breaks_the_reading(tree: Any, section: str) -> None:
    for content in ({section: tree}, {section: {"a": tree}}, {section: [tree]}):
        with suppress(Failure):
            check({"compose.yaml": json.dumps(content)})


def test_the_fast_parser_is_there() -> None:
    """The slow one takes minutes for what may be a mebibyte."""
    assert compose_yaml._LOADER.__name__ == "CSafeLoader"
