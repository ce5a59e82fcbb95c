"""The first token: made once, for its owner's eyes alone, and compared so that nothing can be learned from it."""

from __future__ import annotations

import asyncio
import hmac
import os
from pathlib import Path

import pytest

from libs.contracts.principals import Principal
from libs.contracts.queries import AuthenticateToken
from libs.runtime.bus.failures import Unanswerable
from libs.runtime.service import ServiceBroke
from services.gateway.adapters import accounts, token_file
from services.gateway.adapters.accounts import FirstAccount
from services.gateway.adapters.token_file import BadToken
from tests.gateway.doors import Door, door, refused
from tests.support.stage import Stage

GOOD = "a-token-of-more-than-32-characters-1234567890"


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "admin.token"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_first_start_makes_it_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    umask = os.umask(0)
    try:
        token, made = token_file.ensure(tmp_path)
    finally:
        os.umask(umask)
    path = tmp_path / "admin.token"
    assert made
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == f"{token}\n"
    assert len(token) >= 43
    assert [entry.name for entry in tmp_path.iterdir()] == ["admin.token"]


def test_the_next_start_uses_the_same(tmp_path: Path):
    first, _ = token_file.ensure(tmp_path)
    assert token_file.ensure(tmp_path) == (first, False)


def test_two_platforms_have_different_ones(tmp_path: Path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    assert token_file.ensure(folders[0])[0] != token_file.ensure(folders[1])[0]


async def test_of_many_gateways_that_start_at_once_one_makes_it_and_all_use_it(tmp_path: Path):
    made = await asyncio.gather(*(asyncio.to_thread(token_file.ensure, tmp_path) for _ in range(20)))
    assert len({token for token, _ in made}) == 1
    assert sum(first for _, first in made) == 1
    assert os.listdir(tmp_path) == ["admin.token"]


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o666, 0o620, 0o602, 0o700 | 0o001])
def test_one_that_others_may_use_is_refused(tmp_path: Path, mode: int):
    path = written(tmp_path, GOOD, mode)
    with pytest.raises(BadToken, match=rf"{path} may be used by others \(mode 0{mode:o}\).*remove it"):
        token_file.ensure(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "\n", "admin", "a" * 31, "changeme" * 3, f"{GOOD}\n{GOOD}", f"{GOOD} ü", "a" * 40 + "\0", " " * 64]
)
def test_one_that_is_short_or_no_token_is_refused_and_not_repeated(tmp_path: Path, text: str):
    path = written(tmp_path, text)
    with pytest.raises(BadToken, match=f"{path} holds no token of at least 32") as problem:
        token_file.ensure(tmp_path)
    assert not text.strip() or text.strip() not in str(problem.value).replace(str(path), "")


def test_one_that_cannot_be_read_is_refused(tmp_path: Path):
    (tmp_path / "admin.token").mkdir()
    with pytest.raises(BadToken, match="cannot be read"):
        token_file.ensure(tmp_path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_one_that_somebody_wrote_himself_is_good(tmp_path: Path, mode: int):
    written(tmp_path, f"  {GOOD}\n", mode)
    assert token_file.ensure(tmp_path) == (GOOD, False)


@pytest.mark.parametrize(("text", "mode"), [(GOOD, 0o644), ("short", 0o600)])
async def test_a_gateway_does_not_start_on_one_that_is_refused(stage: Stage, tmp_path: Path, text: str, mode: int):
    written(tmp_path, text, mode)
    with pytest.raises(ServiceBroke, match=r"BadToken: .*remove it to get a new one"):
        async with door(stage, tmp_path):
            pytest.fail("it started")


async def test_a_new_token_is_valid_from_the_next_start_on(stage: Stage, tmp_path: Path):
    async with door(stage, tmp_path) as before:
        old = before.token
    written(tmp_path, GOOD)
    async with door(stage, tmp_path) as after:
        refused(await after.post("/tools/nobody/start"), 404, "tool_not_found")
        after.client.headers["authorization"] = f"Bearer {old}"
        refused(await after.post("/tools/nobody/start"), 401, "unauthenticated")


async def test_tokens_are_compared_whole_and_in_constant_time(shared: Door, monkeypatch: pytest.MonkeyPatch):
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def comparing(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(accounts.hmac, "compare_digest", comparing)
    real = shared.token.encode()
    wrong = [b"x", real[:-1], real + b"x", b"x" + real[1:]]
    for token in wrong:
        headers = [(b"authorization", b"Bearer " + token)]
        refused(await shared.stranger.get("/api/v1/tools", headers=headers), 401, "unauthenticated")
    assert compared == [(real, token) for token in wrong]


async def test_before_there_is_a_token_nobody_is_known():
    nobody = FirstAccount()
    assert [await nobody.authenticate(token) for token in ("", "x")] == [None, None]


async def test_the_token_is_in_no_text_made_of_the_accounts():
    assert GOOD not in repr(FirstAccount(GOOD.encode()))


@pytest.mark.parametrize("service", ["installer", "orchestrator", "status"])
async def test_other_services_may_ask_whose_token_it_is(shared: Door, shared_stage: Stage, service: str):
    async with shared_stage.connected(service) as bus:
        known = await bus.ask(AuthenticateToken(token=shared.token), Principal)
        assert (known.label, known.role) == ("user:admin", "admin")
        for token in ("x", shared.token[:-1], "ü" * 40):
            with pytest.raises(Unanswerable) as answer:
                await bus.ask(AuthenticateToken(token=token), Principal)
            assert (answer.value.status, answer.value.problem.code) == (401, "unauthenticated")
            assert token not in answer.value.problem.message


async def test_a_start_says_where_the_token_is_and_how_to_use_it_but_not_what_it_is(
    stage: Stage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    async with door(stage, tmp_path) as first:
        token = first.token
    said = capfd.readouterr().err
    assert str(tmp_path / "admin.token") in said
    assert "Authorization: Bearer" in said
    assert token not in said
