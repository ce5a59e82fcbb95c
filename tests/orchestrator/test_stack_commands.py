"""How Compose is told what to do, what a repository's `.env` may say to it, and what its complaints come to."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.orchestrator.adapters.kept import as_yaml, read_kept, write_kept
from services.orchestrator.adapters.plugins import find_plugin
from services.orchestrator.domain.builds import BuildLog
from services.orchestrator.domain.failures import EngineError
from services.orchestrator.domain.stacks import commands
from tests.support.compose import compose_config

FILE = "services: {s: {image: x, environment: {%s}}}"
_TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)


def heard(folder: Path, env: str, variables: dict[str, str], *names: str) -> dict[str, str | None]:
    """What a Compose file sees of these names, by Compose's own word; and what settings it takes to be its own."""
    (folder / "compose.yaml").write_text(FILE % ", ".join(f"{name}: '${{{name}-}}'" for name in names))
    (folder / "environment").write_text(commands.interpolation(env, variables), newline="")
    base = commands.base_argv(find_plugin("compose"), "p", folder, folder / "compose.yaml")
    argv = commands.config_argv(base, folder / "environment", folder / "out.json")
    done = subprocess.run(argv, env={}, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: Any = read_kept(folder / "out.json")
    return {name: value.replace("$$", "$") for name, value in found["services"]["s"]["environment"].items()}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_TEXT)
@example("\"'`$HOME ${X} $$ $(id) #a b=c\\ \\n\n\t\r é🔧")
@example("\\")
@example("")
@example(" x ")
def test_the_manifest_s_variables_come_to_a_compose_file_whole(tmp_path: Path, value: str):
    assert heard(tmp_path, "V=mine", {"V": value}, "V") == {"V": value}


@pytest.mark.parametrize(
    "line",
    [
        "DOCKER_HOST=bad",
        "  DOCKER_HOST = bad",
        "export DOCKER_HOST=bad",
        "DOCKER_HOST: bad",
        'A="x"DOCKER_HOST=bad',
        "A='x' DOCKER_HOST=bad",
        '\ufeffDOCKER_HOST="bad"',
        "A='\nDOCKER_HOST=bad\n'",
    ],
)
def test_a_setting_of_docker_s_is_passed_over_wherever_it_hides(tmp_path: Path, line: str):
    (tmp_path / "plain").mkdir()
    assert heard(tmp_path, f"{line}\nB=2", {}, "DOCKER_HOST", "B") == {"DOCKER_HOST": "", "B": "2"}


_SETTINGS = (
    *("DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "COMPOSE_FILE", "COMPOSE_ENV_FILES", "LD_PRELOAD"),
    *("COMPOSE_PROFILES", "BUILDX_BUILDER", "OTEL_EXPORTER_OTLP_ENDPOINT", "GODEBUG", "SSH_AUTH_SOCK"),
)


@pytest.mark.parametrize("name", _SETTINGS)
def test_no_setting_of_a_program_is_taken_from_a_repository(name: str):
    assert commands.interpolation(f"{name}=bad", {}).strip() == ""
    assert name not in commands.interpolation(f"A='x\ny' {name}=bad", {})


@pytest.mark.parametrize("name", ["DOCKER_TAG", "LDAP_URL", "GOAL", "SSH_PORT", "MY_DOCKER_HOST", "COMPOSER_HOME"])
def test_ordinary_variables_of_a_like_name_are(tmp_path: Path, name: str):
    assert heard(tmp_path, f"{name}=x", {}, name) == {name: "x"}


def test_a_value_is_not_cut_where_only_python_sees_the_end_of_a_line(tmp_path: Path):
    assert heard(tmp_path, "A='x\u2028B=y\x0cC=z'", {}, "A", "B", "C") == {"A": "x\u2028B=y\x0cC=z", "B": "", "C": ""}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_TEXT)
@example("\U0001f527 \\ud83d\\udd27 \x7f \x85 \u2028 \ufeff \uffff")
def test_what_is_written_for_compose_is_read_by_it_as_it_was_meant(tmp_path: Path, value: str):
    said = {"services": {"s": {"image": "x", "environment": {"V": value.replace("$", "$$")}}}}
    (tmp_path / "compose.yaml").write_text(as_yaml(said), encoding="utf-8")
    found = compose_config(tmp_path)["services"]["s"]["environment"]["V"]
    assert found.replace("$$", "$") == value


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"1", b"{}", b"\xff\x00", b"null"], ids=str)
def test_what_cannot_be_read_counts_as_not_there(tmp_path: Path, content: bytes | None):
    file = tmp_path / "releases" / "compose.json"
    assert read_kept(file) is None
    write_kept(file, {"a": "ü"})
    assert read_kept(file) == {"a": "ü"}
    if content is not None:
        file.write_bytes(content)
        assert read_kept(file) is None


def test_unset_variables_are_told_once_and_in_order():
    warning = 'time="now" level=warning msg="The \\"%s\\" variable is not set. Defaulting to a blank string."'
    assert commands.unset_variables([warning % "B", "else", warning % "A", warning % "B"]) == ["B", "A"]


def test_complaints_name_services_and_paths_as_the_author_knows_them():
    lines = ["validating /t/source/compose.yaml: services.web.x is not allowed"]
    failure = commands.config_failure(1, lines, Path("/t/source"), Path("/t/environment"))
    assert failure.message == "Compose does not take the tool's file: services.web.x is not allowed."
    broken = commands.config_failure(
        1, ["failed to read /t/environment: line 2: x"], Path("/t/source"), Path("/t/environment")
    )
    assert "failed to read .env: line 2" in broken.message
    started = [" Container machete-abcdefgh-web-abc234-db-1  Error", "dependency failed to start: container "]
    started[1] += "machete-abcdefgh-web-abc234-my-db-1 is unhealthy"
    assert commands.run_failure("started", 1, started).message == (
        "The stack could not be started: dependency failed to start: container my-db is unhealthy."
    )
    missing = commands.run_failure("started", 1, ["Error response from daemon: No such image: some:1"])
    assert isinstance(missing, EngineError)
    assert (missing.code, missing.status) == ("image_missing", 404)
    assert "no image some:1: build the tool again" in missing.message
    full = ["Error response from daemon: write /var/lib/docker/x: no space left on device"]
    for failure in (commands.run_failure("started", 1, full), commands.pull_failure(1, full)):
        assert (failure.code, failure.detail) == ("disk_full", {"log": full})
        assert "write /var/lib/docker/x: no space left on device: free some space" in failure.message
    pulled = commands.pull_failure(18, [" b Error x", " a Error x", "Error response from daemon: x"])
    assert pulled.message.startswith("The image of a and of b could not be pulled: x: check its name")
    assert (
        commands.run_failure("started", 7, []).message
        == "The stack could not be started: Compose ended with exit code 7."
    )


@pytest.mark.parametrize(
    ("code", "line", "wanted"),
    [
        (1, "open /t/config.json: no space left on device", "disk_full"),
        (14, "write /t/config.json: disk quota exceeded", "disk_full"),
        (137, "", "compose_killed"),
        (143, "services.web is", "compose_killed"),
        (127, "cannot start /usr/libexec/docker-compose: Cannot allocate memory", "compose_failed"),
        (2, "", "compose_failed"),
        (15, "services.web.x is not allowed", "compose_invalid"),
    ],
)
def test_a_file_is_called_invalid_only_where_compose_says_so(code: int, line: str, wanted: str):
    assert commands.config_failure(code, [line], Path("/t/source"), Path("/t/environment")).code == wanted


def test_compose_is_told_to_build_and_pull_nothing_while_it_starts():
    base = commands.base_argv(("compose",), "p", Path("/f"), Path("/f/x.json"))
    for argv in (commands.create_argv(base), commands.up_argv(base)):
        assert argv[: len(base)] == base
        assert "--no-build" in argv
        assert argv[argv.index("--pull") + 1] == "never"


def test_why_a_build_of_a_stack_failed_is_said_in_the_end():
    said = "failed to solve: dockerfile parse error on line 1: unknown instruction: FRM"
    failure = commands.build_failure(17, ["#1 DONE 0.0s", said], BuildLog())
    assert failure.code == "build_failed"
    assert failure.message.startswith("The build failed: dockerfile parse error on line 1: unknown instruction: FRM: ")
