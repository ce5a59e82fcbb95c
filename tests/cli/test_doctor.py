"""The doctor says of each thing that MACHETE needs whether it is there, and how to get it if not."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from tests.cli.hands import Shell

NEEDED = {"git", "docker engine", "docker buildx", "docker compose", "nats-server", "nats port", "data folder", "port"}


def named(report: dict[str, list[dict[str, str]]], name: str) -> dict[str, str]:
    (found,) = [each for each in report["checks"] if each["name"] == name]
    return found


async def test_every_need_is_looked_at_one_a_line(lost: Shell):
    said = await lost.run("doctor")
    lines = said.out.splitlines()
    assert [line for line in lines if not line.startswith(("ok ", "missing ", "note "))] == []
    assert all(any(name in line for line in lines) for name in NEEDED)


async def test_what_is_missing_is_named_with_the_way_out_and_ends_with_1(lost: Shell, tmp_path: Path):
    empty = tmp_path / "bin"
    empty.mkdir()
    said = await lost.run("doctor", "--json", PATH=str(empty))
    assert said.code == 1
    assert not said.json["ok"]
    for name in ("git", "docker engine", "docker buildx", "docker compose"):
        assert named(said.json, name)["state"] == "missing"
        assert "install" in named(said.json, name)["way_out"]
    assert named(said.json, "nats-server")["state"] == "ok"
    assert named(said.json, "git over ssh")["state"] == "note"
    assert "openssh-client" in named(said.json, "git over ssh")["way_out"]


async def test_an_engine_that_does_not_answer_is_told_from_one_that_is_not_there(lost: Shell):
    said = await lost.run("doctor", "--json", DOCKER_HOST="unix:///nowhere/docker.sock")
    engine = named(said.json, "docker engine")
    assert engine["state"] == "missing"
    assert "unix:///nowhere/docker.sock" in engine["found"]


@pytest.mark.parametrize(("version", "state"), [("19.03.15", "missing"), ("20.10.24", "ok"), ("26.1.5", "ok")])
async def test_an_engine_before_20_10_is_too_old(lost: Shell, tmp_path: Path, version: str, state: str):
    """A docker command that says so stands in for engines that nobody has any more."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nprint({version!r})\n")
    program.chmod(0o755)
    said = await lost.run("doctor", "--json", PATH=str(program.parent))
    assert named(said.json, "docker engine")["state"] == state


async def test_a_nats_server_that_is_none_is_missing(lost: Shell):
    said = await lost.run("doctor", "--json", NATS_SERVER_BIN="/bin/true")
    assert said.code == 1
    assert named(said.json, "nats-server")["state"] == "missing"
    assert "/bin/true" in named(said.json, "nats-server")["way_out"]


async def test_a_taken_port_is_missing_and_a_taken_nats_port_only_a_note(lost: Shell, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as http, socket.create_server(("127.0.0.1", 0)) as nats:
        (tmp_path / "nats").mkdir()
        (tmp_path / "nats" / "port").write_text(str(nats.getsockname()[1]))
        chosen = {"MACHETE_DATA": str(tmp_path), "MACHETE_PORT": str(http.getsockname()[1])}
        said = await lost.run("doctor", "--json", **chosen)
    assert said.code == 1
    assert named(said.json, "port")["state"] == "missing"
    assert "MACHETE_PORT" in named(said.json, "port")["way_out"]
    assert named(said.json, "nats port")["state"] == "note"


async def test_a_folder_that_cannot_be_one_is_missing(lost: Shell, tmp_path: Path):
    (tmp_path / "file").write_text("")
    said = await lost.run("doctor", "--json", MACHETE_DATA=str(tmp_path / "file" / "data"))
    assert said.code == 1
    assert named(said.json, "data folder")["state"] == "missing"


async def test_a_platform_that_is_up_is_examined_too_and_what_is_missing_of_it_is_named(shell: Shell):
    """Here a gateway and a status service, and nobody who would carry anything out."""
    said = await shell.run("doctor", "--json")
    platform = named(said.json, "platform")
    assert platform["state"] == "note"
    assert shell.environment["MACHETE_URL"] in platform["found"]
    for missing in ("installer", "orchestrator"):
        assert f"{missing}: nobody takes its commands" in platform["way_out"]


async def test_where_another_platform_is_named_the_ports_of_this_machine_are_none_of_its_business(
    shell: Shell,
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = await shell.run("doctor", "--json", MACHETE_PORT=str(taken.getsockname()[1]))
    for name in ("port", "nats port"):
        assert named(said.json, name)["state"] == "note"
        assert "MACHETE_URL" in named(said.json, name)["found"]
