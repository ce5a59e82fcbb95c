"""What Compose would open on reading a stack, against what Compose itself does open."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.compose import compose_config, write_files
from tests.support.stack_files import check, failure_of, repository_beside_canaries


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return repository_beside_canaries(tmp_path)


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
        check(files(path), first, project)

    beyond = files("../" * (depth + 3) + "canary.env")
    write_files(world, beyond)
    assert compose_config(world, first, project)["services"]["one"]["environment"] == {"CANARY": "flown"}
    assert failure_of(beyond, first, project).code == "policy_refused"
    assert failure_of(files("../" * (depth + 1) + "e.env"), first, project).code == "policy_refused"


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
    failure = failure_of({"compose.yaml": "# one\n" + form.replace("TEXT", text.replace("\\x", "\\\\x"))})

    assert failure.code == "policy_refused"
    assert failure.message.startswith("compose.yaml:2: ")
    assert failure.detail == {"refusals": [failure.message.removesuffix(".")]}


def test_an_extended_file_may_not_name_remote_includes_either() -> None:
    files = {
        "compose.yaml": "services: {a: {extends: {file: b.yml, service: s}}}",
        "b.yml": "include: ['oci://x/y']\nservices: {s: {image: x}}",
    }

    assert failure_of(files).message.startswith("b.yml:1: include[0]: ")


def test_compose_passes_over_what_an_extended_file_includes(world: Path) -> None:
    """If it did not, the included files would have to be looked through as well."""
    files = {
        "compose.yaml": "services: {a: {extends: {file: b.yml, service: s}}}",
        "b.yml": "include: [absent.yml]\nservices: {s: {image: x}}",
    }
    write_files(world, files)

    assert list(compose_config(world)["services"]) == ["a"]
    check(files)


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
    check(FINE[case])


def test_a_missing_file_is_left_for_compose_to_name() -> None:
    check({"compose.yaml": "include: [absent.yml]\nservices: {a: {image: x, env_file: absent.env}}"})


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
        check(files, f"{folder}c.yml")
    else:
        assert failure_of(files, f"{folder}c.yml").code == "policy_refused"
