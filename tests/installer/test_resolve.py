"""What a tool's folder is taken for, and what is left to be decided."""

import pytest

from libs.contracts.source import Refused
from libs.contracts.written import InvalidManifest
from services.installer.domain.resolve import COMPOSE_FILES, Resolution, resolve

DOCKERFILE = "FROM x\nEXPOSE 8080\n"


class Files:
    def __init__(self, files: dict[str, str]):
        self.files = files

    def has(self, path: str) -> bool:
        return path in self.files

    def read(self, path: str) -> bytes | None:
        return self.files[path].encode() if path in self.files else None


def resolved(**files: str) -> Resolution:
    named = {name.replace("__", "."): text for name, text in files.items()}
    return resolve(Files(named), name="from-url", version="0123abc", platform="1.0.0")


def refusal(files: dict[str, str]) -> Refused:
    with pytest.raises(Refused) as refused:
        resolve(Files(files), name="x", version="1", platform="1.0.0")
    return refused.value


def test_a_manifest_decides_and_the_dockerfile_fills_in_the_port() -> None:
    got = resolved(machete__yml="name: Mine\nversion: 2.10\n", Dockerfile=DOCKERFILE)
    assert (got.manifest.name, got.manifest.version, got.manifest.port) == ("Mine", "2.10", 8080)
    assert (got.manifest.kind, got.manifest.manifest_file) == ("container", "machete.yml")
    assert got.notes == ("Port 8080 is taken from Dockerfile.",)


def test_what_the_manifest_says_of_the_port_counts_more() -> None:
    got = resolved(machete__yml="machete: {port: 9000, readiness_timeout: 2m, restart: no}", Dockerfile=DOCKERFILE)
    assert got.manifest.restart == "no"
    assert (got.manifest.port, got.manifest.readiness_timeout, got.notes) == (9000, 120.0, ())
    assert (got.manifest.name, got.manifest.version) == ("from-url", "0123abc")


def test_tool_json_is_read_where_there_is_no_machete_yml() -> None:
    assert resolved(tool__json='{"name": "old"}', Dockerfile=DOCKERFILE).manifest.name == "old"
    both = resolved(tool__json='{"name": "old"}', machete__yml="name: new", Dockerfile=DOCKERFILE)
    assert both.manifest.name == "new"


def test_a_dockerfile_alone_is_a_container() -> None:
    got = resolved(Dockerfile=DOCKERFILE)
    assert (got.manifest.kind, got.manifest.port, got.manifest.manifest_file) == ("container", 8080, "Dockerfile")
    assert got.notes[0] == "There is no machete.yml: the tool is run from its Dockerfile alone."


def test_a_tool_without_a_port_is_told_that_it_has_no_address() -> None:
    got = resolved(machete__yml="machete: {health_check: /health}", Dockerfile="FROM x")
    assert got.notes == (
        "No port is named or exposed: the tool runs without an address.",
        "A health check without a port is not made.",
    )


COMPOSE = "services: {web: {image: x}}"


@pytest.mark.parametrize("compose", COMPOSE_FILES)
@pytest.mark.parametrize("more", [{}, {"machete.yml": "name: x"}, {"Dockerfile": DOCKERFILE}])
def test_a_compose_file_makes_a_stack_with_a_manifest_or_without(compose: str, more: dict[str, str]) -> None:
    got = resolve(Files({compose: COMPOSE, **more}), name="x", version="1", platform="1.0.0").manifest
    assert (got.kind, got.compose, got.port, got.service) == ("stack", compose, None, None)
    assert got.manifest_file == ("machete.yml" if "machete.yml" in more else compose)


def test_of_several_compose_files_the_one_counts_that_compose_would_take() -> None:
    for index, file in enumerate(COMPOSE_FILES):
        got = resolve(Files(dict.fromkeys(COMPOSE_FILES[index:], COMPOSE)), name="x", version="1", platform="1.0.0")
        assert got.manifest.compose == file


def test_a_manifest_that_names_a_dockerfile_makes_a_container_although_there_is_a_compose_file() -> None:
    got = resolved(machete__yml="machete: {dockerfile: Dockerfile}", Dockerfile=DOCKERFILE, compose__yaml=COMPOSE)
    assert got.manifest.kind == "container"


def test_a_manifest_names_compose_file_service_and_port_of_a_stack() -> None:
    text = "machete: {compose: deploy/stack.yml, service: web, port: 80, environment: {A: b}}"
    files = {"machete.yml": text, "deploy/stack.yml": COMPOSE, "compose.yaml": COMPOSE}
    got = resolve(Files(files), name="x", version="1", platform="1.0.0").manifest
    assert (got.compose, got.service, got.port, got.environment) == ("deploy/stack.yml", "web", 80, {"A": "b"})


def test_whoever_has_a_manifest_a_compose_file_and_a_dockerfile_is_told_which_counts() -> None:
    got = resolved(machete__yml="name: x", Dockerfile=DOCKERFILE, compose__yaml=COMPOSE)
    assert got.notes == ("The tool is the stack of compose.yaml; name machete.dockerfile to run the Dockerfile alone.",)


def test_a_compose_file_that_is_named_and_not_there_is_missed_by_its_name() -> None:
    refused = refusal({"machete.yml": "machete: {compose: deploy/stack.yml}", "compose.yaml": COMPOSE})
    assert (refused.code, "deploy/stack.yml" in refused.message) == ("compose_missing", True)


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("services:\n  web: [\n", 3, "this is no YAML"),
        ("services:\n\tweb: {}\n", 2, "this is no YAML"),
        ("- web\n", 1, "a Compose file is a mapping"),
        ("# nothing\n", 1, "a Compose file is a mapping"),
        ("just words", 1, "a Compose file is a mapping"),
    ],
)
def test_a_compose_file_that_cannot_be_read_is_refused_with_its_line(text: str, line: int, rule: str) -> None:
    with pytest.raises(InvalidManifest, match=rf"compose\.yaml:{line}: {rule}") as invalid:
        resolved(compose__yaml=text)
    assert invalid.value.code == "compose_invalid"


def test_a_folder_with_nothing_to_run_is_told_what_to_add() -> None:
    refused = refusal({"README.md": ""})
    assert refused.code == "manifest_missing"
    assert "neither a machete.yml nor a Compose file nor a Dockerfile" in refused.message


def test_a_dockerfile_that_is_named_and_not_there_is_missed_by_its_name() -> None:
    refused = refusal({"machete.yml": "machete: {dockerfile: docker/Prod}", "Dockerfile": DOCKERFILE})
    assert (refused.code, "docker/Prod" in refused.message) == ("dockerfile_missing", True)


def test_a_faulty_manifest_is_not_passed_over_for_the_dockerfile() -> None:
    with pytest.raises(InvalidManifest, match=r"machete\.port"):
        resolved(machete__yml="machete: {port: no}", Dockerfile=DOCKERFILE)


def test_what_is_asked_for_and_not_done_is_said() -> None:
    text = "machete: {port: 1, dependencies: [redis]}\npermissions: {docker: true}\nsetup: {script: x.sh}\n"
    notes = resolved(machete__yml=text, Dockerfile=DOCKERFILE).notes
    assert [note.split(" ")[1] for note in notes] == ["machete.dependencies", "permissions.docker", "setup.script"]
