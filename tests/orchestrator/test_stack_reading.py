"""What Compose would open on reading a stack, against what Compose itself does open."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from libs.contracts.problems import Failure
from services.orchestrator.domain.stacks import compose_yaml
from services.orchestrator.domain.stacks.reading import check_files
from tests.support.compose import ComposeRefused, compose_config, write_files

Files = Mapping[str, str | bytes]

CANARY = "CANARY=flown"


def _check(files: Files, compose: str = "compose.yaml", project: str | None = None) -> None:
    contents = {PurePosixPath(name): text.encode() if isinstance(text, str) else text for name, text in files.items()}
    check_files(contents.get, PurePosixPath(compose), None if project is None else PurePosixPath(project))


def _failure(files: Files, compose: str = "compose.yaml", project: str | None = None) -> Failure:
    with pytest.raises(Failure) as raised:
        _check(files, compose, project)
    return raised.value


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A repository three folders deep, with a file of variables outside of it that no tool may read."""
    root = tmp_path / "a" / "b" / "repository"
    write_files(tmp_path, {"canary.env": CANARY, "canary.yml": "services: {s: {image: x, environment: {CANARY: 1}}}"})
    write_files(root, {f"{folder}e.env": f"FOUND={folder or 'root'}" for folder in ("", "p/", "p/q/", "p/q/r/", "s/")})
    return root


def _outside(world: Path, name: str = "canary.env") -> str:
    return str(world.parents[2] / name)


def _opens(world: Path, files: Files) -> bool:
    """Does what lies outside reach the configuration?"""
    write_files(world, files)
    try:
        return "CANARY" in str(compose_config(world))
    except ComposeRefused:
        return False


# What a path in a file is resolved against: the files, and the folder in which Compose finds e.env.
SERVICE = "{image: x, env_file: ENV}"
BASES: dict[str, tuple[dict[str, str], str, str, str]] = {
    "the first file": ({"compose.yaml": f"services: {{one: {SERVICE}}}"}, "", "compose.yaml", "."),
    "a first file in a folder": ({"p/c.yml": f"services: {{one: {SERVICE}}}"}, "p/", "p/c.yml", "p"),
    "a project directory above": ({"p/c.yml": f"services: {{one: {SERVICE}}}"}, "", "p/c.yml", "."),
    "an included file": (
        {"compose.yaml": "include: [p/c.yml]", "p/c.yml": f"services: {{one: {SERVICE}}}"},
        "p/",
        "compose.yaml",
        ".",
    ),
    "a file included by an included one": (
        {
            "compose.yaml": "include: [p/c.yml]",
            "p/c.yml": "include: [q/d.yml]",
            "p/q/d.yml": f"services: {{one: {SERVICE}}}",
        },
        "p/q/",
        "compose.yaml",
        ".",
    ),
    "an include with a project directory": (
        {
            "compose.yaml": "include: [{path: p/c.yml, project_directory: s}]",
            "p/c.yml": f"services: {{one: {SERVICE}}}",
        },
        "s/",
        "compose.yaml",
        ".",
    ),
    "an include within an include's project directory": (
        {
            "compose.yaml": "include: [{path: s/c.yml, project_directory: p}]",
            "s/c.yml": "include: [q/d.yml]",
            "p/q/d.yml": f"services: {{one: {SERVICE}}}",
        },
        "p/q/",
        "compose.yaml",
        ".",
    ),
    "the second path of an include": (
        {
            "compose.yaml": "include: [{path: [p/c.yml, s/d.yml]}]",
            "p/c.yml": "services: {one: {image: x}}",
            "s/d.yml": f"services: {{one: {SERVICE}}}",
        },
        "p/",
        "compose.yaml",
        ".",
    ),
    "an extended file": (
        {
            "compose.yaml": "services: {one: {extends: {file: p/c.yml, service: two}}}",
            "p/c.yml": f"services: {{two: {SERVICE}}}",
        },
        "p/",
        "compose.yaml",
        ".",
    ),
    "a file extended by an extended one": (
        {
            "compose.yaml": "services: {one: {extends: {file: p/c.yml, service: two}}}",
            "p/c.yml": "services: {two: {extends: {file: q/d.yml, service: three}}}",
            "p/q/d.yml": f"services: {{three: {SERVICE}}}",
        },
        "p/q/",
        "compose.yaml",
        ".",
    ),
    "a way up through an extended file": (
        {
            "compose.yaml": "services: {one: {extends: {file: p/c.yml, service: two}}}",
            "p/c.yml": "services: {two: {extends: {file: ../s/d.yml, service: three}}}",
            "s/d.yml": f"services: {{three: {SERVICE}}}",
        },
        "s/",
        "compose.yaml",
        ".",
    ),
    "a service of the extended file itself": (
        {
            "compose.yaml": "services: {one: {extends: {file: p/c.yml, service: two}}}",
            "p/c.yml": f"services: {{two: {{extends: three}}, three: {SERVICE}}}",
        },
        "p/",
        "compose.yaml",
        ".",
    ),
    "a file extended within an include's project directory": (
        {
            "compose.yaml": "include: [{path: s/c.yml, project_directory: p}]",
            "s/c.yml": "services: {one: {extends: {file: q/d.yml, service: two}}}",
            "p/q/d.yml": f"services: {{two: {SERVICE}}}",
        },
        "p/q/",
        "compose.yaml",
        ".",
    ),
    "a file extended from a first file in a folder": (
        {
            "s/c.yml": "services: {one: {extends: {file: p/d.yml, service: two}}}",
            "p/d.yml": f"services: {{two: {SERVICE}}}",
        },
        "p/",
        "s/c.yml",
        ".",
    ),
}


@pytest.mark.parametrize("case", BASES)
def test_paths_are_resolved_as_compose_resolves_them(world: Path, case: str) -> None:
    template, base, first, project = BASES[case]
    depth = base.count("/")

    def files(path: str) -> dict[str, str]:
        return {name: text.replace("ENV", path) for name, text in template.items()}

    for path, found in (("e.env", base or "root"), ("../" * depth + "e.env", "root")):
        write_files(world, files(path))
        config = compose_config(world, first, project)
        assert config["services"]["one"]["environment"] == {"FOUND": found}
        _check(files(path), first, project)

    beyond = files("../" * (depth + 3) + "canary.env")
    write_files(world, beyond)
    assert compose_config(world, first, project)["services"]["one"]["environment"] == {"CANARY": "flown"}
    assert _failure(beyond, first, project).code == "policy_refused"
    assert _failure(files("../" * (depth + 1) + "e.env"), first, project).code == "policy_refused"


# Ways to have something outside opened, all of which Compose follows; OUT is its absolute path.
OPENED: dict[str, Files] = {
    "short": {"compose.yaml": "services: {a: {image: x, env_file: OUT}}"},
    "list": {"compose.yaml": "services: {a: {image: x, env_file: [OUT]}}"},
    "long": {"compose.yaml": "services: {a: {image: x, env_file: [{path: OUT, required: false}]}}"},
    "upwards": {"compose.yaml": "services: {a: {image: x, env_file: ../../../canary.env}}"},
    "upwards from where nothing is": {"compose.yaml": "services: {a: {image: x, env_file: no/../../../../canary.env}}"},
    "labels": {"compose.yaml": "services: {a: {image: x, label_file: OUT}}"},
    "include": {"compose.yaml": "include: [YML]"},
    "include, long": {"compose.yaml": "include: [{path: [YML]}]"},
    "include, cased": {"compose.yaml": "include: [{PATH: YML}]"},
    "include, upwards": {"compose.yaml": "include: [../../../canary.yml]"},
    "include, variables": {
        "compose.yaml": "include: [{path: i.yml, env_file: OUT}]",
        "i.yml": "services: {a: {image: '${CANARY:+CANARY}x'}}",
    },
    "include, folder": {
        "compose.yaml": "include: [{path: i.yml, project_directory: ../../..}]",
        "i.yml": "services: {a: {image: x, env_file: canary.env}}",
    },
    "extends": {"compose.yaml": "services: {a: {extends: {file: YML, service: s}}}"},
    "extends, upwards": {"compose.yaml": "services: {a: {extends: {file: ../../../canary.yml, service: s}}}"},
    "extends, merged": {"compose.yaml": "x-e: &e {file: YML}\nservices: {a: {extends: {<<: *e, service: s}}}"},
    "interpolated": {"compose.yaml": 'services: {a: {image: x, env_file: "${X:-OUT}"}}'},
    "interpolated include": {"compose.yaml": 'include: ["${X:-YML}"]'},
    "merged": {"compose.yaml": "x-m: &m {env_file: OUT}\nservices: {a: {<<: *m, image: x}}"},
    "merged from a list": {"compose.yaml": "x-m: &m {env_file: OUT}\nservices: {a: {<<: [{x-a: b}, *m], image: x}}"},
    "merged, tagged": {"compose.yaml": "services: {a: {!!merge <<: {env_file: OUT}, image: x}}"},
    "merged services": {"compose.yaml": "<<: {services: {a: {image: x, env_file: OUT}}}"},
    "merged entry": {"compose.yaml": "services: {a: {image: x, env_file: [{<<: {path: OUT}}]}}"},
    "anchor said twice": {"compose.yaml": "x-a: &k {a: b}\nx-b: &k {env_file: OUT}\nservices: {a: {<<: *k, image: x}}"},
    "aliased key": {"compose.yaml": "x-k: &k env_file\nservices: {a: {image: x, *k : OUT}}"},
    "aliased key, said twice": {"compose.yaml": "x-k: &k env_file\nservices: {a: {image: x, env_file: [], *k : OUT}}"},
    "binary key": {"compose.yaml": "services: {a: {image: x, !!binary ZW52X2ZpbGU=: OUT}}"},
    "unknown tag": {"compose.yaml": "services: {a: {image: x, env_file: !foo OUT}}"},
    "string tag": {"compose.yaml": "services: {a: {image: x, !!str env_file: !!str OUT}}"},
    "tag by directive": {
        "compose.yaml": "%TAG ! tag:yaml.org,2002:\n---\nservices: {a: {image: x, env_file: !str OUT}}"
    },
    "override": {"compose.yaml": "services: {a: {image: x, env_file: !override [OUT]}}"},
    "escaped key": {"compose.yaml": 'services: {a: {image: x, "env\\x5ffile": OUT}}'},
    "question mark": {"compose.yaml": "? services\n: a:\n    image: x\n    ? env_file\n    : OUT\n"},
    "folded": {"compose.yaml": "services:\n  a:\n    image: x\n    env_file: >-\n      OUT\n"},
    "second document": {"compose.yaml": "services: {a: {image: x}}\n---\nservices: {a: {env_file: OUT}}"},
    "after an end mark": {"compose.yaml": "services: {a: {image: x}}\n...\n---\nservices: {a: {env_file: OUT}}"},
    "next line": {"compose.yaml": "x-a: b\u0085services: {a: {image: x, env_file: OUT}}"},
    "line separator": {"compose.yaml": "# a comment\u2028services: {a: {image: x, env_file: OUT}}"},
    "carriage return": {"compose.yaml": "# a comment\rservices: {a: {image: x, env_file: OUT}}"},
    "byte order mark": {"compose.yaml": "\ufeffservices: {a: {image: x, env_file: OUT}}"},
    "UTF-16": {"compose.yaml": "services: {a: {image: x, env_file: OUT}}".encode("utf-16")},
    "tabs": {"compose.yaml": "services:\t{a: {image:\tx, env_file:\tOUT}}"},
    "a service called y": {"compose.yaml": "services: {y: {image: x, env_file: OUT}}"},
}


@pytest.mark.parametrize("way", OPENED)
def test_whatever_compose_would_open_outside_is_refused_before_it_does(world: Path, way: str) -> None:
    files: dict[str, str | bytes] = {}
    for name, text in OPENED[way].items():
        if isinstance(text, bytes):
            files[name] = text.decode("utf-16").replace("OUT", _outside(world)).encode("utf-16")
        else:
            files[name] = text.replace("OUT", _outside(world)).replace("YML", _outside(world, "canary.yml"))

    assert _opens(world, files), "this way leads nowhere, so its refusal proves nothing"
    assert _failure(files).code in ("policy_refused", "compose_invalid")


@pytest.mark.parametrize(
    "text",
    [
        "oci://registry.example/x:1",
        "https://example.org/x.git",
        "https://example.org/x.git#main:dir",
        "git@example.org:x/y.git",
        "ssh://git@example.org/x",
        "github.com/x/y",
        "GitHub.com/x/y",
        "C:\\x.yml",
        "~/x.yml",
        "/etc/x.yml",
        "//etc/x.yml",
        "..",
        " /etc/x.yml",
        "x.yml\\n",
        "${X}.yml",
        "$$x.yml",
    ],
)
@pytest.mark.parametrize(
    "form",
    [
        'include: ["TEXT"]',
        'include: [{path: ["a.yml", "TEXT"]}]',
        'include: [{path: a.yml, project_directory: "TEXT"}]',
        'include: [{path: a.yml, env_file: "TEXT"}]',
        'services: {a: {extends: {file: "TEXT", service: s}}}',
        'services: {a: {env_file: "TEXT"}}',
        'services: {a: {env_file: [{path: "TEXT"}]}}',
    ],
)
def test_what_is_fetched_or_lies_outside_is_refused_in_every_place(form: str, text: str) -> None:
    failure = _failure({"compose.yaml": "# one\n" + form.replace("TEXT", text.replace("\\x", "\\\\x"))})

    assert failure.code == "policy_refused"
    assert failure.message.startswith("compose.yaml:2: ")
    assert failure.detail == {"refusals": [failure.message.removesuffix(".")]}


def test_an_extended_file_may_not_name_remote_includes_either() -> None:
    files = {
        "compose.yaml": "services: {a: {extends: {file: b.yml, service: s}}}",
        "b.yml": "include: ['oci://x/y']\nservices: {s: {image: x}}",
    }

    assert _failure(files).message.startswith("b.yml:1: include[0]: ")


def test_compose_passes_over_what_an_extended_file_includes(world: Path) -> None:
    """If it did not, the included files would have to be looked through as well."""
    files = {
        "compose.yaml": "services: {a: {extends: {file: b.yml, service: s}}}",
        "b.yml": "include: [absent.yml]\nservices: {s: {image: x}}",
    }
    write_files(world, files)

    assert list(compose_config(world)["services"]) == ["a"]
    _check(files)


FINE: dict[str, dict[str, str]] = {
    "files of the repository": {
        "compose.yaml": "include: [p/c.yml]\nservices: {a: {image: x, env_file: [e.env, {path: p/e.env}]}}",
        "p/c.yml": "services: {b: {image: x, env_file: ../e.env}}",
    },
    "one file included twice": {
        "compose.yaml": "include: [b.yml, c.yml]",
        "b.yml": "include: [d.yml]\nservices: {b: {image: x}}",
        "c.yml": "include: [d.yml]\nservices: {c: {image: x}}",
        "d.yml": "services: {d: {image: x}}",
    },
    "files that extend each other's services": {
        "compose.yaml": "services: {a: {extends: {file: b.yml, service: s}}, z: {image: z}}",
        "b.yml": "services: {s: {image: x}, t: {extends: {file: compose.yaml, service: z}}}",
    },
    "no variables": {
        "compose.yaml": "include: [{path: b.yml, env_file: /dev/null}]",
        "b.yml": "services: {b: {image: x}}",
    },
    "several documents": {"compose.yaml": "---\nservices: {a: {image: x}}\n--- # more\nservices: {b: {image: x}}\n"},
    "reset": {"compose.yaml": "services: {a: {image: x, env_file: !reset null, ports: !override ['1:1']}}"},
    "lines of Windows": {"compose.yaml": "services:\r\n  a:\r\n    image: x\r\n    env_file: e.env\r\n"},
    "a byte order mark at the beginning": {"compose.yaml": "\ufeffservices: {a: {image: x}}"},
    "free keys": {"compose.yaml": "x-a: {env_file: /etc/passwd, include: [/etc/passwd]}\nservices: {a: {image: x}}"},
    "text that looks like it": {
        "compose.yaml": "services:\n  a:\n    image: x\n    command: |\n      env_file: /etc/passwd\n"
    },
    "merged and said itself": {
        "compose.yaml": "x-m: &m {env_file: e.env, image: y}\nservices: {a: {<<: *m, image: x}}"
    },
}


@pytest.mark.parametrize("case", FINE)
def test_what_compose_reads_within_the_repository_passes(world: Path, case: str) -> None:
    write_files(world, FINE[case])

    assert compose_config(world)["services"]
    _check(FINE[case])


def test_a_missing_file_is_left_for_compose_to_name() -> None:
    _check({"compose.yaml": "include: [absent.yml]\nservices: {a: {image: x, env_file: absent.env}}"})


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
    failure = _failure({"compose.yaml": content})

    assert failure.code == "compose_invalid"
    assert failure.message.startswith(f"compose.yaml:{line}: " if line else "compose.yaml: ")
    assert said in failure.message
    assert failure.detail == {"file": "compose.yaml", "line": line}


def test_files_that_include_each_other_are_refused() -> None:
    files = {"compose.yaml": "include: [b/c.yml]", "b/c.yml": "include: [../compose.yaml]\nservices: {a: {image: x}}"}

    assert _failure(files).code == "compose_invalid"


def test_files_that_extend_each_others_services_in_a_circle_are_refused() -> None:
    files = {
        "compose.yaml": "services: {a: {extends: {file: b.yml, service: b}}}",
        "b.yml": "services:\n  b: {extends: {file: ./compose.yaml, service: a}}",
    }

    assert "extends itself" in _failure(files).message


@pytest.mark.parametrize(("deep", "passes"), [(19, True), (20, False)])
def test_files_are_included_at_most_twenty_deep(deep: int, passes: bool) -> None:
    files = {f"{n}.yml": f"include: [{n + 1}.yml]" for n in range(1, deep)}
    files |= {"compose.yaml": "include: [1.yml]", f"{deep}.yml": "services: {a: {image: x}}"}

    if passes:
        _check(files)
    else:
        assert "more than 20 deep" in _failure(files).message


def test_a_file_that_includes_very_many_is_refused() -> None:
    names = [f"{n}.yml" for n in range(300)]
    files = {"compose.yaml": f"include: [{', '.join(names)}]", **dict.fromkeys(names, "services: {a: {image: x}}")}

    assert _failure(files).code == "compose_invalid"


def test_a_repository_without_the_file_is_told_so() -> None:
    failure = _failure({}, "app/compose.yaml")

    assert failure.message == "app/compose.yaml: there is no such file."


_PARTS = st.lists(
    st.sampled_from(["..", ".", "", "p", "P", "e.env", "...", ".. ", "~", "a:b", "$x"]), min_size=1, max_size=8
)


@given(parts=_PARTS, base=st.sampled_from(["", "p", "p/q"]), absolute=st.booleans())
@example(parts=["..", "..", "e.env"], base="p", absolute=False)
def test_a_path_passes_only_if_it_stays_within_the_repository(parts: list[str], base: str, absolute: bool) -> None:
    path = ("/" if absolute else "") + "/".join(parts)
    folder = f"{base}/" if base else ""
    files = {f"{folder}c.yml": f"services: {{a: {{image: x, env_file: ['{path}']}}}}"}
    real: list[str] | None = base.split("/") if base else []
    for part in parts:
        if part == "..":
            real = real[:-1] if real else None
        elif real is not None and part not in ("", "."):
            real = [*real, part]
        if real is None:
            break
    plain = not path.startswith(("/", "~")) and path == path.strip() and not set(":$") & set(path)

    if real is not None and plain:
        _check(files, f"{folder}c.yml")
    else:
        assert _failure(files, f"{folder}c.yml").code == "policy_refused"


_PIECES = st.sampled_from(
    [
        *" \t\n#:-'\"{}[]&*!|>%@?,\r\\",
        "\u0085",
        "\u2028",
        "\ufeff",
        "\u00a0",
        "<<",
        "---\n",
        "...\n",
        "x-a: b\n",
        "  ",
        "",
        "",
    ]
)
_FORMS = [
    "services:\n  a:\n    image: x\n    env_file: OUT\n",
    "services:\n  a:\n    image: x\n    env_file:\n    - OUT\n",
    "x-m: &m {env_file: OUT}\nservices:\n  a:\n    <<: *m\n    image: x\n",
    "services: {a: {image: x, env_file: [{path: OUT}]}}\n",
    "x-q: &q OUT\nservices:\n  a: {image: x, env_file: *q}\n",
    "x-n: |\n  text\nservices:\n  a:\n    image: x # c\n    ? env_file\n    : OUT\n",
]


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(form=st.sampled_from(_FORMS), noise=st.lists(st.tuples(st.integers(0, 200), _PIECES), max_size=2))
def test_no_odd_writing_hides_from_us_what_compose_sees(world: Path, form: str, noise: list[tuple[int, str]]) -> None:
    for where, piece in noise:
        at = min(where, len(form))
        form = form[:at] + piece + form[at:]
    files = {"compose.yaml": form.replace("OUT", _outside(world))}

    if _opens(world, files):
        assert _failure(files).code in ("policy_refused", "compose_invalid")


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
            _check({"compose.yaml": json.dumps(content)})


def test_the_fast_parser_is_there() -> None:
    """The slow one takes minutes for what may be a mebibyte."""
    assert compose_yaml._LOADER.__name__ == "CSafeLoader"
