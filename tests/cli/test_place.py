"""The command finds the platform of this machine and its token by itself, and is told in words when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.runtime.datalock import DataLock
from tests.cli.hands import Shell, closed_port


def local(shell: Shell, data: Path) -> Shell:
    """The same command, told only where the platform keeps its data."""
    del shell.environment["MACHETE_URL"], shell.environment["MACHETE_TOKEN"]
    shell.environment["MACHETE_DATA"] = str(data)
    return shell


@pytest.fixture
def here(shell: Shell, platform: tuple[str, str], tmp_path: Path):
    """A data folder that is held, as by a running platform."""
    url, token = platform
    (tmp_path / "admin.token").touch(mode=0o600)
    (tmp_path / "admin.token").write_text(token)
    with DataLock(tmp_path) as lock:
        lock.announce(url)
        yield local(shell, tmp_path)


async def test_the_running_platform_and_its_token_are_found(here: Shell):
    assert (await here.run("list")).code == 0


async def test_a_token_that_others_may_read_is_not_used(here: Shell, tmp_path: Path):
    (tmp_path / "admin.token").chmod(0o644)
    said = await here.run("list")
    assert said.code == 2
    assert "0644" in said.err


async def test_without_a_platform_it_says_how_to_start_one(lost: Shell):
    said = await lost.run("list")
    assert said.code == 3
    assert "machete up" in said.err
    assert (await lost.run("list", "--json")).json["error"]["code"] == "no_platform"


async def test_a_platform_that_is_gone_leaves_no_address_behind(shell: Shell, tmp_path: Path):
    with DataLock(tmp_path) as lock:
        lock.announce("http://127.0.0.1:1")
    said = await local(shell, tmp_path).run("list")
    assert said.code == 3
    assert "no platform runs" in said.err


async def test_an_address_that_does_not_answer_is_exit_code_3(lost: Shell):
    url = f"http://127.0.0.1:{closed_port()}"
    said = await lost.run("install", "https://git.example.org/x", MACHETE_URL=url, MACHETE_TOKEN="x" * 43)
    assert said.code == 3
    assert url in said.err


async def test_a_wrong_token_is_refused(shell: Shell):
    said = await shell.run("list", MACHETE_TOKEN="not-the-token")
    assert said.code == 4
    assert "token" in said.err


async def test_the_token_of_this_machine_is_not_shown_to_another(here: Shell):
    said = await here.run("list", MACHETE_URL="http://machete.example.org")
    assert said.code == 2
    assert "MACHETE_TOKEN" in said.err


@pytest.mark.parametrize("url", ["machete.example.org", "ftp://127.0.0.1", "http://", "file:///etc/passwd"])
async def test_an_address_that_is_none_is_wrong_usage(lost: Shell, url: str):
    assert (await lost.run("list", MACHETE_URL=url, MACHETE_TOKEN="x")).code == 2


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["install"], ["list", "--colour"], ["logs", "x", "--tail", "-1"]]
)
async def test_wrong_usage_is_exit_code_2(lost: Shell, arguments: list[str]):
    assert (await lost.run(*arguments)).code == 2
