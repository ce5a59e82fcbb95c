"""What the embedded server is told, to the letter, and which programs and passwords are refused."""

import json
import os
from pathlib import Path

import pytest

from libs.contracts.permissions import Permissions, permissions
from libs.runtime import nats_binary, nats_credentials
from libs.runtime.nats_binary import NoNatsServer
from libs.runtime.nats_config import (
    GIB,
    NatsUser,
    ServerSettings,
    WeakPassword,
    render,
    storage_limit,
    storage_limit_of,
)
from tests.support.nats_server import nats_binaries

PASSWORD = "abcdefghijklmnopqrstuvwxyz012345"
RENDERED = """{
  "server_name": "machete-1",
  "host": "127.0.0.1",
  "port": 4223,
  "max_payload": 1048576,
  "max_pending": 268435456,
  "log_file": "/data/nats/server.log",
  "logfile_size_limit": 4194304,
  "logfile_max_num": 3,
  "jetstream": {
    "store_dir": "/data/nats/jetstream",
    "sync_interval": "always",
    "max_file_store": 1073741824,
    "max_memory_store": 67108864
  },
  "accounts": {
    "MACHETE": {
      "jetstream": {
        "max_file": 1073741824,
        "max_memory": 67108864
      },
      "users": [
        {
          "user": "gateway",
          "password": "abcdefghijklmnopqrstuvwxyz012345",
          "permissions": {
            "publish": {
              "allow": [
                "a.>",
                "b"
              ]
            },
            "subscribe": {
              "allow": [
                "c"
              ]
            },
            "allow_responses": true
          }
        },
        {
          "user": "mute",
          "password": "abcdefghijklmnopqrstuvwxyz012345",
          "permissions": {
            "publish": {
              "deny": [
                ">"
              ]
            },
            "subscribe": {
              "deny": [
                ">"
              ]
            }
          }
        }
      ]
    }
  }
}
"""


def settings(users: dict[str, NatsUser]) -> ServerSettings:
    return ServerSettings("machete-1", 4223, Path("/data/nats"), GIB, users)


def program(folder: Path, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "nats-server"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_configuration_is_exactly_this():
    users = {
        "gateway": NatsUser(PASSWORD, Permissions(publish=("a.>", "b"), subscribe=("c",), responds=True)),
        "mute": NatsUser(PASSWORD, Permissions(publish=(), subscribe=())),
    }
    assert render(settings(users)) == RENDERED


@pytest.mark.parametrize("password", ["", "admin", "secret" * 6, "x" * 64, PASSWORD[:31], PASSWORD[:-1] + "$"])
def test_no_server_is_configured_with_a_weak_password(password: str):
    with pytest.raises(WeakPassword, match="the password of the NATS user 'gateway' is too weak"):
        render(settings({"gateway": NatsUser(password, Permissions(publish=(), subscribe=()))}))


def test_a_server_without_users_is_not_configured_at_all():
    with pytest.raises(ValueError, match="without users"):
        render(settings({}))


def test_the_store_stays_below_the_disk_and_never_shrinks():
    assert storage_limit(free=100 * GIB, used=0, before=0) == 10 * GIB
    assert storage_limit(free=3 * GIB, used=2 * GIB, before=0) == 4 * GIB
    assert storage_limit(free=GIB, used=0, before=4 * GIB) == 4 * GIB


def test_the_limit_can_be_read_back_from_the_configuration():
    users = {"mute": NatsUser(PASSWORD, Permissions(publish=(), subscribe=()))}
    assert storage_limit_of(render(settings(users))) == GIB
    for damaged in ("", "{}", "[]", '{"jetstream": {}}'):
        with pytest.raises(ValueError, match=r"Expecting value|max_file_store is not in it"):
            storage_limit_of(damaged)


def test_credentials_are_made_once_and_for_their_owner_alone(tmp_path: Path):
    path = tmp_path / "credentials.json"
    made = nats_credentials.ensure(path, permissions())
    assert path.stat().st_mode & 0o777 == 0o600
    assert made.keys() == permissions().keys()
    assert len(set(made.values())) == len(made)
    path.chmod(0o644)
    assert nats_credentials.ensure(path, permissions()) == made == json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_user_gets_a_password_while_the_others_keep_theirs(tmp_path: Path):
    path = tmp_path / "credentials.json"
    made = nats_credentials.ensure(path, ["a", "b"])
    assert nats_credentials.ensure(path, ["b", "c"]) == {"b": made["b"], "c": json.loads(path.read_text())["c"]}


@pytest.mark.parametrize("text", ['{"gateway": "changeme"}', '{"gateway": null}', "[]", "no json", ""])
def test_credentials_that_are_weak_or_damaged_are_refused(tmp_path: Path, text: str):
    path = tmp_path / "credentials.json"
    path.write_text(text)
    with pytest.raises(nats_credentials.BadCredentials) as refusal:
        nats_credentials.ensure(path, ["gateway"])
    assert str(refusal.value).endswith(f"remove {path} and start again: new passwords are made")
    assert path.read_text() == text


def test_the_named_program_wins_over_path_and_path_over_the_package(tmp_path: Path):
    named = program(tmp_path / "named", "echo nats-server: v2.11.0")
    on_path = program(tmp_path / "on-path", "echo nats-server: v2.12.1-RC.2")
    search = f"{on_path.parent}:{os.environ['PATH']}"
    found = nats_binary.find({"NATS_SERVER_BIN": str(named), "PATH": search})
    assert (found.path, found.version) == (named, "2.11.0")
    found = nats_binary.find({"PATH": search})
    assert (found.path, found.version) == (on_path, "2.12.1-RC.2")
    assert nats_binary.find({"PATH": str(tmp_path)}).path == nats_binaries()["newest"]


def test_a_server_below_2_10_is_refused_with_where_it_is_and_what_to_do(tmp_path: Path):
    old = program(tmp_path, "echo nats-server: v2.9.10")
    with pytest.raises(NoNatsServer) as refusal:
        nats_binary.find({"PATH": str(tmp_path)})
    assert str(refusal.value) == (
        f"{old} is NATS server 2.9.10, and 2.10 or newer is needed; "
        "it is on PATH: remove it, or set NATS_SERVER_BIN to a newer one"
    )
    with pytest.raises(NoNatsServer, match=r"\$NATS_SERVER_BIN names it: name a newer one there, or unset it"):
        nats_binary.find({"NATS_SERVER_BIN": str(old)})


def test_what_is_no_nats_server_is_refused(tmp_path: Path):
    other = program(tmp_path, "echo hello")
    with pytest.raises(NoNatsServer, match=r"is no NATS server: asked for its version it said 'hello'"):
        nats_binary.find({"NATS_SERVER_BIN": str(other)})
    with pytest.raises(NoNatsServer, match="cannot be run"):
        nats_binary.find({"NATS_SERVER_BIN": str(tmp_path / "missing")})
