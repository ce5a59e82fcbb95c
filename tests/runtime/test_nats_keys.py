"""Keys and tokens as NATS has them, and what a server's question comes to."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import nkeys
import pytest

from libs.contracts.agents import is_inbox_of
from libs.contracts.permissions import agent_permissions, permissions
from libs.runtime import nats_issuer
from libs.runtime.nats_callout import Callout, admission, asked, refusal, signer
from libs.runtime.nats_config import NatsUser, ServerSettings, render
from libs.runtime.nats_credentials import BadCredentials
from libs.runtime.nats_keys import (
    BadToken,
    UserKey,
    check_signature,
    claims_of,
    issuer_of,
    new_issuer,
    new_user,
    token,
    user_form,
)

PASSWORD = "0123456789abcdefghijklmnopqrstuvwxyz"


def signed(user: UserKey, nonce: str) -> str:
    import base64

    return base64.b64encode(nkeys.from_seed(user.seed.encode()).sign(nonce.encode())).decode()


def callout(user: UserKey, *, nonce: str = "n-1", key: str = "", name: str = "") -> Callout:
    return Callout("NSERVER", "UCONNECTION", nonce, signed(user, nonce), key, name)


@pytest.mark.parametrize("make", [new_issuer, new_user])
def test_keys_are_those_of_the_official_library(make):
    made = make()
    theirs = nkeys.from_seed(made.seed.encode())
    public: object = theirs.public_key
    assert public == made.public.encode()
    assert made.seed not in repr(made)


def test_an_issuer_is_known_by_its_seed_alone():
    made = new_issuer()
    assert issuer_of(made.seed) == made


@pytest.mark.parametrize(
    "seed",
    ["", "SU", "x" * 58, "SAÄ", new_user().seed, new_issuer().seed[:-1] + "7"],
    ids=["empty", "short", "letters", "foreign", "of-a-user", "mistyped"],
)
def test_what_is_no_seed_of_an_account_is_refused_without_being_repeated(seed: str):
    with pytest.raises(ValueError, match="the seed of an account") as refused:
        issuer_of(seed)
    assert not seed or seed not in str(refused.value)


def test_a_token_holds_until_a_character_of_it_is_changed():
    issuer = new_issuer()
    whole = token(issuer, {"sub": "x"})
    assert claims_of(whole, issuer=issuer.public)["sub"] == "x"
    for place in range(0, len(whole) - 1, 7):
        changed = whole[:place] + ("A" if whole[place] != "A" else "B") + whole[place + 1 :]
        with pytest.raises(BadToken):
            claims_of(changed, issuer=issuer.public)


@pytest.mark.parametrize("text", ["", "a.b.c", "....", "e30.e30.e30", "\x00", "é.é.é", "." * 10_000])
def test_what_is_no_token_is_refused(text: str):
    with pytest.raises(BadToken):
        claims_of(text)


def test_a_token_of_another_issuer_is_refused():
    with pytest.raises(BadToken, match="elsewhere"):
        claims_of(token(new_issuer(), {"sub": "x"}), issuer=new_issuer().public)


def test_a_token_without_a_signature_is_refused():
    import base64

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    issuer = new_issuer()
    with pytest.raises(BadToken):
        claims_of(f"{part({'alg': 'none'})}.{part({'iss': issuer.public})}.", issuer=issuer.public)


def test_a_stranger_is_who_has_signed_and_not_who_he_says():
    one, other = new_user(), new_user()
    known = [("one", one.public), ("other", other.public)]
    assert signer(callout(other), known) == ("other", other.public)
    assert signer(callout(other, name="one"), known) == ("other", other.public)
    assert signer(callout(other, key=other.public), known) == ("other", other.public)
    assert signer(callout(other, key=one.public), known) is None
    assert signer(callout(new_user(), name="one"), known) is None
    assert signer(callout(one), []) is None


def test_a_signature_of_another_nonce_or_of_none_is_nobodys():
    user = new_user()
    known = [("one", user.public)]
    old = callout(user, nonce="old")
    assert signer(Callout(old.server, old.connection, "new", old.signature, "", ""), known) is None
    assert signer(callout(user, nonce=""), known) is None
    assert signer(Callout("N", "U", "n", "", "", ""), known) is None
    assert signer(Callout("N", "U", "n", "no base64!", "", ""), known) is None


def test_what_signs_with_a_key_that_is_none_is_refused():
    for public in ("", "U", "x" * 56, "UÄ"):
        with pytest.raises(BadToken):
            check_signature(public, b"n", "AAAA")


def question(server: str | None = None, **nats: object) -> bytes:
    """As a server asks it, signed with a key of its own."""
    key = new_issuer()
    said = {"type": "authorization_request", "server_id": {"id": server or key.public}, **nats}
    return token(key, {"nats": said}).encode()


def test_a_question_is_read_with_all_that_it_leaves_out():
    whole = asked(question(user_nkey="UC", client_info={"nonce": "n"}, connect_opts={"sig": "s", "name": "robot"}))
    assert (whole.connection, whole.nonce, whole.signature, whole.name, whole.key) == ("UC", "n", "s", "robot", "")
    assert asked(question()).nonce == ""


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"{}", question(server="NOTHER"), question(type="user"), question(server_id=5)],
    ids=["empty", "bytes", "json", "of-another", "of-another-type", "of-nobody"],
)
def test_what_no_server_asks_is_no_question(payload: bytes):
    with pytest.raises(BadToken):
        asked(payload)


def test_an_answer_is_for_one_connection_on_one_server():
    issuer, stranger = new_issuer(), callout(new_user())
    answer = claims_of(
        admission(stranger, issuer, "agent:one", agent_permissions("one")).decode(), issuer=issuer.public
    )
    assert (answer["aud"], answer["sub"]) == ("NSERVER", "UCONNECTION")
    user = claims_of(answer["nats"]["jwt"], issuer=issuer.public)
    assert (user["aud"], user["sub"], user["name"]) == ("MACHETE", "UCONNECTION", "agent:one")
    assert user["nats"]["pub"] == {"allow": ["machete.agent.v1.one.*.*"]}
    refused = claims_of(refusal(stranger, issuer, "why").decode(), issuer=issuer.public)
    assert refused["nats"]["error"] == "why"
    assert "jwt" not in refused["nats"]


def test_the_issuers_file_is_made_once_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / nats_issuer.NAME
    made = nats_issuer.ensure(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert nats_issuer.ensure(path) == made
    path.chmod(0o640)
    with pytest.raises(BadCredentials, match="may be used by others"):
        nats_issuer.ensure(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "5", '{"public": "A"}'])
def test_an_issuers_file_that_holds_no_key_is_refused_with_the_way_out(tmp_path: Path, text: str):
    path = tmp_path / nats_issuer.NAME
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(BadCredentials, match=r"remove .* and start again"):
        nats_issuer.read(path)


def test_the_server_asks_about_everybody_but_its_own_users(tmp_path: Path):
    issuer = new_issuer()
    users = {name: NatsUser(PASSWORD, rights) for name, rights in permissions().items()}
    document = json.loads(render(ServerSettings("n", 4222, tmp_path, 1, users, issuer=issuer.public)))
    callout = document["authorization"]["auth_callout"]
    assert callout == {"issuer": issuer.public, "account": "MACHETE", "auth_users": list(users)}
    assert [each["user"] for each in document["accounts"]["SYSTEM"]["users"]] == ["warden"]
    keyed = [each for each in document["accounts"]["MACHETE"]["users"] if "nkey" in each]
    assert [each["nkey"] for each in keyed] == [user_form(issuer.public)]
    assert keyed[0]["permissions"] == {"publish": {"deny": [">"]}, "subscribe": {"deny": [">"]}}
    assert issuer.seed not in json.dumps(document)


@pytest.mark.parametrize(
    ("reply", "own"),
    [
        ("_INBOX_agent.robot.a", True),
        ("_INBOX_agent.robot.a.b-c.D_1", True),
        ("_INBOX_agent.robot", False),
        ("_INBOX_agent.robot.", False),
        ("_INBOX_agent.robot.*", False),
        ("_INBOX_agent.robot.>", False),
        ("_INBOX_agent.robot.a b", False),
        ("_INBOX_agent.robot.a\r\nPUB x", False),
        ("_INBOX_agent.robot.a\n", False),
        ("_INBOX_agent.robot2.a", False),
        ("_INBOX_agentrobot.a", False),
        ("x_INBOX_agent.robot.a", False),
        ("", False),
    ],
)
def test_only_a_plain_subject_below_its_own_prefix_is_an_agents_inbox(reply: str, own: bool):
    assert is_inbox_of("robot", reply) is own
