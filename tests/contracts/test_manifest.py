"""The manifest: the documented form is read as written, and what is wrong is said with its place."""

import json
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import libs.contracts.manifest
from libs.contracts.manifest import Manifest, ResolvedManifest, Volume, manifest_schema
from libs.contracts.manifest_check import CheckedManifest
from libs.contracts.written import InvalidManifest
from services.installer.domain.manifests import parse_manifest

EXAMPLE = Path(libs.contracts.manifest.__file__).with_name("machete.example.yml")

DOCUMENTED = """\
name: my-tool                 # becomes the slug; the installer may be told another
version: "1.0.0"
description: …
author: …
license: MIT
repository: https://git.example.org/x
machete:
  version: ">=1.0.0"          # the least MACHETE that can run it
  category: automation
  port: 8080                  # the port it serves, inside
  health_check: /health       # 200 means healthy
  environment: [NODE_ENV=production, LOG_LEVEL=info]       # list or mapping
  volumes: ["./data:/app/data", "./config:/app/config:ro"]
  dependencies: [postgresql, redis]                        # other tools or services it needs
config: {timeout: 30}
ui: {icon: "🔧", color: "#ff6b35", routes: [{path: /, title: Dashboard, description: …}]}
resources: {memory: 512Mi, cpu: 500m}
permissions: {docker: false, filesystem: {read_only: false}}
setup: {script: ./scripts/setup.sh, config_files: [config/default.json]}
"""

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50)


def checked(text: str, file: str = "machete.yml", platform: str = "1.0.0") -> CheckedManifest:
    return parse_manifest(text.encode(), file, platform=platform)


def manifest(text: str) -> Manifest:
    return checked(text).manifest


def faults(text: str, file: str = "machete.yml") -> list[str]:
    with pytest.raises(InvalidManifest) as refused:
        checked(text, file)
    return [str(fault) for fault in refused.value.faults]


def fault(text: str) -> str:
    (only,) = faults(text)
    return only


def test_the_documented_form_is_read_without_a_word() -> None:
    read = checked(DOCUMENTED)
    assert read.notes == ()
    assert read.manifest.machete.environment == {"NODE_ENV": "production", "LOG_LEVEL": "info"}
    assert read.manifest.machete.volumes == (
        Volume(kind="path", source="data", target="/app/data"),
        Volume(kind="path", source="config", target="/app/config", read_only=True),
    )
    assert (read.manifest.resources.memory, read.manifest.resources.cpu) == (512 * 1024**2, 500_000_000)
    assert read.manifest.setup.script == "scripts/setup.sh"


def test_an_older_tool_json_has_the_same_keys() -> None:
    as_json = json.dumps(yaml.safe_load(DOCUMENTED), indent="\t")
    assert checked(as_json, "tool.json").manifest == manifest(DOCUMENTED)


def test_the_commented_example_is_valid_and_shows_every_key() -> None:
    text = EXAMPLE.read_text()
    assert checked(text).notes == ()
    assert keys_of(Manifest) == keys_in(yaml.safe_load(text))


def keys_of(model: type[BaseModel]) -> dict[str, Any]:
    parts = {part.__name__: part for part in libs.contracts.manifest.Part.__subclasses__()}
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        inner = next((part for key, part in parts.items() if f".{key}" in repr(field.annotation)), None)
        found[name] = keys_of(inner) if inner else None
    return found


def keys_in(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        first = value[0] if isinstance(value, list) and value else value
        found[key] = keys_in(cast("dict[str, Any]", first)) if isinstance(first, dict) and key != "config" else None
    return found


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("always", "always"),
        ("Unless-Stopped", "unless-stopped"),
        ("on-failure", "on-failure"),
        ("no", "no"),
        ("'no'", "no"),
    ],
)
def test_a_restart_is_read_as_people_write_it(written: str, read: str) -> None:
    assert checked(f"machete: {{restart: {written}}}").manifest.machete.restart == read
    assert checked("machete: {port: 80}").manifest.machete.restart == "unless-stopped"
    jsonschema.validate(yaml.safe_load(f"machete: {{restart: {written.lower()}}}"), manifest_schema())


@pytest.mark.parametrize("written", ["on-failure:3", "yes", "5", "[no]"])
def test_a_restart_of_another_kind_is_refused_with_those_there_are(written: str) -> None:
    said = fault(f"machete: {{restart: {written}}}")
    assert said.endswith("a restart is one of always, unless-stopped, on-failure, no")


def test_the_published_schema_takes_what_is_read() -> None:
    schema = manifest_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for text in (DOCUMENTED, EXAMPLE.read_text(), "name: x", "machete: {environment: {A: 1, B: }, port: 1}"):
        jsonschema.validate(yaml.safe_load(text), schema)


@pytest.mark.parametrize(
    "text", ["machete: {port: 80a}", "machete: {health_check: 5}", "config: 5", "machete: {volumes: [5]}"]
)
def test_the_published_schema_refuses_what_is_refused(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), manifest_schema())
    assert faults(text)


def test_a_fault_names_file_line_key_what_was_found_and_what_is_allowed() -> None:
    text = "name: x\n\nmachete:\n  version: '>=1.0.0'\n\n\n  port: 80a\n"
    assert fault(text) == 'machete.yml:7: machete.port: found "80a"; a port is a whole number from 1 to 65535'


def test_all_faults_of_a_file_are_said_at_once_in_the_order_of_its_lines() -> None:
    said = faults("resources: {cpu: much}\nmachete:\n  port: 0\n  category: x\n  volumes:\n  - /etc:/etc\n")
    assert [line.split(" ")[0] for line in said] == [f"machete.yml:{number}:" for number in (1, 3, 4, 6)]


def test_a_fault_in_json_has_its_line_too() -> None:
    said = faults('{\n "name": "x",\n "machete": {\n  "port": 70000\n }\n}', "tool.json")
    assert said == ["tool.json:4: machete.port: found 70000; a port is a whole number from 1 to 65535"]


def test_an_unknown_key_is_passed_over_and_told_with_the_key_that_was_meant() -> None:
    (note,) = checked("machete:\n  prot: 80\n").notes
    assert note == "machete.yml:2: machete.prot: no key that MACHETE knows, passed over; did you mean port?"
    assert checked("x-mine: {a: 1}").notes == ()


@pytest.mark.parametrize("name", ["a;id", "$(id)", "../x", "", "x" * 300, "-x", "a\\u0000b", "🔧"])
def test_a_name_that_a_tool_cannot_have_is_refused_in_a_manifest_too(name: str) -> None:
    assert "machete.yml:1: " in fault(f'name: "{name}"')


@pytest.mark.parametrize(
    "name", ["Müller & Söhne", "Reports (beta)", "CI: nightly", "Anna's tool", "C++ lint", "7 days!"]
)
def test_a_name_is_written_as_people_write_names(name: str) -> None:
    assert manifest(json.dumps({"name": name})).name == name


# What is only shown


@pytest.mark.parametrize(
    ("text", "key", "left"),
    [
        ("author: {name: Anna, email: a@example.org}", "author", {}),
        ("repository: {type: git, url: https://git.example.org/x}", "repository", {}),
        ("license: [MIT, Apache-2.0]", "license", {}),
        ("description: ''", "description", {}),
        ("version: [1, 2]", "version", {}),
        ("machete: {category: networking, port: 80}", "machete.category", {"machete": {"port": 80}}),
        ("ui: dashboard", "ui", {}),
        ("ui: {icon: [a], color: red}", "ui.icon", {"ui": {"color": "red"}}),
        ("ui: {color: 'rgb(1, 2, 3)', icon: x}", "ui.color", {"ui": {"icon": "x"}}),
        ("ui: {routes: {/: Home}, icon: x}", "ui.routes", {"ui": {"icon": "x"}}),
        ("ui: {routes: [{title: A}, {path: /b}]}", "ui.routes[0].path", {"ui": {"routes": [{"path": "/b"}]}}),
        ("ui: {routes: [5, {path: /b}]}", "ui.routes[0]", {"ui": {"routes": [{"path": "/b"}]}}),
    ],
)
def test_what_is_only_shown_keeps_no_tool_from_running(text: str, key: str, left: dict[str, Any]) -> None:
    read = checked(text)
    assert read.manifest == Manifest.model_validate(left)
    (note,) = read.notes
    assert note.startswith(f"machete.yml:1: {key}: ")
    assert note.endswith("; passed over")


def test_beside_a_fault_that_counts_what_is_only_shown_is_told_too() -> None:
    said = faults("author: [x]\nmachete: {port: 0}\n")
    assert [line.split(": ")[1] for line in said] == ["author", "machete.port"]


def test_a_size_as_docker_writes_it_is_told_as_what_it_was_taken() -> None:
    (note,) = checked("resources: {memory: 512m}").notes
    assert note == 'machete.yml:1: resources.memory: found "512m"; read as Docker does, in steps of 1024'


# Environments


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_every_value_of_an_environment_comes_through_whole(variables: dict[str, str]) -> None:
    listed = [f"{name}={value}" for name, value in variables.items()]
    for form in (variables, listed):
        as_yaml = yaml.safe_dump({"machete": {"environment": form}}, allow_unicode=False)
        read = manifest(as_yaml)
        assert read.machete.environment == variables
        resolved = ResolvedManifest(
            name="x", version="1", manifest_file="machete.yml", environment=read.machete.environment
        )
        assert ResolvedManifest.model_validate_json(resolved.model_dump_json()).environment == variables


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1.10", "1.10"),
        ("010", "010"),
        ("yes", "yes"),
        ("True", "True"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("", ""),
        ('""', ""),
        ("'a # b'", "a # b"),
        ("a=b=c", "a=b=c"),
        ("$HOME ${X}", "$HOME ${X}"),
        ('"a\\nb"', "a\nb"),
        ("größe 😀", "größe 😀"),
    ],
)
def test_a_value_is_the_text_that_was_typed(written: str, meant: str) -> None:
    assert manifest(f"machete: \n  environment:\n    A: {written}\n").machete.environment == {"A": meant}


def test_a_name_without_a_value_is_not_set_and_never_filled_from_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "leaked")
    assert manifest("machete: {environment: [CANARY, A=1]}").machete.environment == {"A": "1"}
    assert manifest("machete: {environment: {CANARY: null, A: 1}}").machete.environment == {"A": "1"}


def test_a_value_never_stands_in_a_fault() -> None:
    said = faults("machete:\n  environment:\n    - A B=hunter2\n    - C=1\n    - C=hunter2\n    - {X: hunter2}\n")
    assert len(said) == 3
    assert "hunter2" not in "".join(said)
    assert said[1].startswith("machete.yml:5: machete.environment[2]: found C again; ")


# Volumes, resources, versions


@pytest.mark.parametrize(
    "volume", ["/etc:/x", "../a:/x", "a/../../b:/x", "~/x:/x", "$HOME/x:/x", "./a", "a:b", "a:/x:rx", "a:/../x", "a:/"]
)
def test_a_volume_outside_the_tools_own_data_is_refused(volume: str) -> None:
    assert fault(f'machete: {{volumes: ["{volume}"]}}').startswith(
        f'machete.yml:1: machete.volumes[0]: found "{volume}"; '
    )


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        (".:/code", Volume(kind="path", source=".", target="/code")),
        ("./a//b/:/c/", Volume(kind="path", source="a/b", target="/c")),
        ("db_1:/var/lib/db:rw", Volume(kind="named", source="db_1", target="/var/lib/db")),
    ],
)
def test_a_volume_becomes_typed(text: str, volume: Volume) -> None:
    assert manifest(f'machete: {{volumes: ["{text}"]}}').machete.volumes == (volume,)


@given(st.sampled_from(["path", "named"]), st.text(max_size=12), st.text(max_size=12))
def test_no_volume_that_leads_out_can_be_made_or_decoded(kind: Any, source: str, target: str) -> None:
    try:
        made = Volume(kind=kind, source=source, target=target)
    except ValueError:
        return
    assert not source.startswith("/")
    assert ".." not in source.split("/")
    assert ".." not in target.split("/")
    assert made.target.startswith("/")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *[("512Mi", 2**29), ("1Gi", 2**30), ("1.5Gi", 3 * 2**29), ("64M", 64 * 10**6), ("8388608", 2**23)],
        *[("512m", 2**29), ("512MB", 512 * 10**6), ("1g", 2**30), ("64mb", 2**26)],
    ],
)
def test_memory_is_read_in_bytes(text: str, size: int) -> None:
    assert manifest(f"resources: {{memory: {text}}}").resources.memory == size


@pytest.mark.parametrize(("text", "nano"), [("500m", 5 * 10**8), ("0.5", 5 * 10**8), ("2", 2 * 10**9), ("0.1", 10**8)])
def test_cpu_is_read_in_billionths(text: str, nano: int) -> None:
    assert manifest(f"resources: {{cpu: {text}}}").resources.cpu == nano


@pytest.mark.parametrize(
    "text", ["memory: 512mi", "memory: 1", "memory: 512 megabytes", "memory: -1Gi", "memory: []", "cpu: 0", "cpu: true"]
)
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    assert f"resources.{text.split(':')[0]}: found " in fault(f"resources: {{{text}}}")


@pytest.mark.parametrize("wanted", [">=1.0.0", "1.0", "==1.0.0", ">=0.9, <2", "!=1.0.1", ">= 1", "<=1.0.0", "v1.0.0"])
def test_a_tool_that_asks_for_this_platform_is_let_in(wanted: str) -> None:
    assert manifest(f'machete: {{version: "{wanted}"}}').machete.version == wanted


@pytest.mark.parametrize("wanted", [">=1.0.1", ">1.0.0", "<1", "==2.0", "!=1.0.0", "3", ">=1, <1.0.0"])
def test_a_tool_that_asks_for_another_platform_is_refused_with_both_versions(wanted: str) -> None:
    said = fault(f'machete: {{version: "{wanted}"}}')
    assert said == (
        f'machete.yml:1: machete.version: found "{wanted}"; this MACHETE is 1.0.0, '
        "which is not what the tool asks for; take a version of the tool that asks for this one, or update MACHETE"
    )


@pytest.mark.parametrize("wanted", ["~1.0", "latest", ">=", "1.x", "^1.0.0", "1.0.0.0"])
def test_a_version_that_is_none_is_refused_with_the_form_it_has(wanted: str) -> None:
    assert "a version of MACHETE is asked for like >=1.0.0" in fault(f'machete: {{version: "{wanted}"}}')


def test_a_version_keeps_the_digits_it_was_typed_with() -> None:
    assert manifest("version: 1.10").version == "1.10"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text("ab:/é", max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["name", "machete", "port", "volumes", "environment", "ui", "routes", "path", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_stands_there_is_a_manifest_or_a_list_of_faults(data: Any) -> None:
    text = yaml.safe_dump(data)
    try:
        read = checked(text)
    except InvalidManifest as problem:
        refused = problem
    else:
        assert isinstance(read.manifest, Manifest)
        return
    assert refused.faults
    assert all(str(one).startswith("machete.yml") for one in refused.faults)
