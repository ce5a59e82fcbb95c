"""Settings: what wins, and that a mistake is named and not passed over."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from libs.runtime.bus.connecting import servers_of
from libs.runtime.settings import CommaList, Pairs, Settings
from libs.runtime.settings_reference import render_settings_reference
from libs.runtime.variables import NOT_SETTINGS, SettingsError, variable


class Installer(Settings):
    git_protocols: CommaList = Field(("https", "ssh"), description="Git protocols that are let through.")
    build_args: Pairs = Field({}, description="Arguments of every build.")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in [name for name in os.environ if name.startswith("MACHETE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MACHETE_DATA", str(tmp_path))
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "machete.env"
    path.write_text(text)
    return path


def refusal(cls: type[Settings] = Settings, **given: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        cls.load(**given)
    return str(caught.value)


def test_what_is_given_wins_over_the_environment_and_that_over_the_file(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(clean, "MACHETE_PORT=1\nMACHETE_HOST=file\nMACHETE_LOG_LEVEL=error\n")
    monkeypatch.setenv("MACHETE_PORT", "2")
    monkeypatch.setenv("MACHETE_HOST", "environment")
    settings = Settings.load(port=3)
    assert (settings.port, settings.host, settings.log_level) == (3, "environment", "error")


def test_the_file_lies_in_the_data_folder_that_is_given(clean: Path) -> None:
    elsewhere = clean / "elsewhere"
    elsewhere.mkdir()
    write(elsewhere, "MACHETE_PORT=4")
    assert Settings.load(data=elsewhere).port == 4
    assert Settings.load().port == 8080


def test_an_empty_value_counts_as_not_set(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHETE_PORT", "")
    assert Settings.load().port == 8080


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("MACHETE_NATS_PASSWORD=a$HOME${HOME}b", "a$HOME${HOME}b"),
        ("MACHETE_NATS_PASSWORD='a#b = \"c\"'", 'a#b = "c"'),
        ('MACHETE_NATS_PASSWORD="two\\nlines"', "two\nlines"),
        ("export MACHETE_NATS_PASSWORD=größe # a remark", "größe"),
    ],
)
def test_a_value_in_the_file_is_taken_as_it_stands(clean: Path, line: str, value: str) -> None:
    write(clean, f"# for the test\nMACHETE_NATS_USER=gateway\n{line}\n")
    assert Settings.load().nats_credentials("gateway") == ("gateway", value)


def test_an_unknown_variable_is_named_with_the_nearest_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHETE_PROT", "9000")
    assert refusal() == "the environment: there is no setting MACHETE_PROT; did you mean MACHETE_PORT?"


@pytest.mark.parametrize("key", ["MACHETE_HEARTBEET", "HEARTBEAT", "machete_heartbeat"])
def test_an_unknown_key_in_the_file_is_named_with_its_line(clean: Path, key: str) -> None:
    path = write(clean, f"MACHETE_PORT=1\n\n# a remark\n{key}=1\n")
    assert refusal() == f"{path}:4: there is no setting {key}; did you mean MACHETE_HEARTBEAT?"


@pytest.mark.parametrize("line", ["MACHETE_PORT", "just words", "MACHETE_PORT='8080"])
def test_a_line_that_says_nothing_is_refused_with_its_place(clean: Path, line: str) -> None:
    path = write(clean, f"MACHETE_HOST=h\n{line}\n")
    assert refusal().startswith(f"{path}:2: ")


def test_a_key_that_stands_twice_is_refused(clean: Path) -> None:
    path = write(clean, "MACHETE_PORT=1\nMACHETE_PORT=2\n")
    assert refusal() == f"{path}:2: MACHETE_PORT was set before, at {path}:1; keep one"


def test_the_file_cannot_say_where_it_lies_itself(clean: Path) -> None:
    write(clean, "MACHETE_DATA=/elsewhere")
    assert "MACHETE_DATA says where this file lies" in refusal()


def test_a_wrong_value_is_told_with_what_was_found_and_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHETE_PORT", "99999")
    monkeypatch.setenv("MACHETE_LOG_LEVEL", "loud")
    first, second = refusal().splitlines()
    assert first == "MACHETE_PORT: found '99999'; allowed is a whole number from 0 to 65535"
    assert second == "MACHETE_LOG_LEVEL: found 'loud'; allowed is 'debug', 'info', 'warning' or 'error'"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("MACHETE_PORT", "abc", "allowed is a whole number from 0 to 65535"),
        ("MACHETE_PORT", "1.5", "allowed is a whole number from 0 to 65535"),
        ("MACHETE_PORT", "-1", "allowed is a whole number from 0 to 65535"),
        ("MACHETE_STOP_GRACE", "soon", "allowed is a number above 0"),
        ("MACHETE_STOP_GRACE", "inf", "allowed is a number above 0"),
        ("MACHETE_NATS_URL", "here", "it must be nats://host:port or tls://host:port, several separated by commas"),
    ],
)
def test_a_wrong_value_is_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str) -> None:
    monkeypatch.setenv(name, value)
    assert refusal() == f"{name}: found {value!r}; {allowed}"


def test_an_unknown_variable_like_no_other_is_told_where_all_of_them_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHETE_FROBNICATE", "1")
    said = "there is no setting MACHETE_FROBNICATE; docs/settings.md lists those that there are"
    assert refusal() == f"the environment: {said}"


def test_another_services_settings_are_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHETE_GIT_PROTOCOLS", "https, file")
    assert "MACHETE_GIT_PROTOCOLS" in refusal()
    assert Settings.load(known=[Installer]).port == 8080
    assert Installer.load().git_protocols == ("https", "file")


def test_pairs_keep_what_stands_after_the_first_equals_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHETE_BUILD_ARGS", "BASE_IMAGE=machete-base:bookworm, OPTIONS=a=b")
    assert Installer.load().build_args == {"BASE_IMAGE": "machete-base:bookworm", "OPTIONS": "a=b"}
    monkeypatch.setenv("MACHETE_BUILD_ARGS", "BASE_IMAGE")
    assert "pairs NAME=value" in refusal(Installer)


@pytest.mark.parametrize(("heartbeat", "bound", "ack_wait"), [(6, 6, 10), (2, 10, 10), (2, 11, 10), (0, 6, 10)])
def test_children_end_before_another_worker_takes_over(heartbeat: float, bound: float, ack_wait: float) -> None:
    assert "MACHETE_HEARTBEAT" in refusal(heartbeat=heartbeat, watchdog_bound=bound, ack_wait=ack_wait)


def test_no_time_is_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHETE_ACK_WAIT", "inf")
    assert refusal().startswith("MACHETE_ACK_WAIT: found 'inf'")


def test_credentials_in_the_nats_url_are_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHETE_NATS_URL", "nats://gateway:canary-123@localhost:4222")
    assert "must carry no credentials" in refusal()
    assert "canary" not in refusal()


def test_a_cluster_is_several_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHETE_NATS_URL", "nats://a:4222, tls://b:4222")
    assert servers_of(Settings.load().nats_url) == ["nats://a:4222", "tls://b:4222"]


def test_a_user_without_a_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHETE_NATS_USER", "gateway")
    assert "go together" in refusal()


def test_each_service_finds_its_own_credentials_in_the_data_folder(clean: Path) -> None:
    (clean / "nats").mkdir()
    (clean / "nats" / "credentials.json").write_text(json.dumps({"gateway": "one", "status": "two"}))
    assert Settings.load().nats_credentials("status") == ("status", "two")
    with pytest.raises(SettingsError, match="no password for the user 'installer'"):
        Settings.load().nats_credentials("installer")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"gateway": 5}'])
def test_missing_credentials_name_the_file_and_the_way_out(clean: Path, content: str | None) -> None:
    path = clean / "nats" / "credentials.json"
    if content is not None:
        path.parent.mkdir()
        path.write_text(content)
    with pytest.raises(SettingsError) as caught:
        Settings.load().nats_credentials("gateway")
    assert str(path) in str(caught.value)
    assert "MACHETE_NATS_USER" in str(caught.value)


def test_no_secret_shows_in_a_settings_text(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load(nats_user="gateway", nats_password="canary-123")
    assert "canary" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_data_is_kept_for_this_user_alone(clean: Path) -> None:
    settings = Settings.load(data=clean / "a" / "b")
    settings.make_data_folder()
    assert (clean / "a" / "b").stat().st_mode & 0o777 == 0o700
    (clean / "file").write_text("")
    with pytest.raises(SettingsError, match="MACHETE_DATA"):
        Settings.load(data=clean / "file").make_data_folder()


def test_the_folder_is_the_same_from_wherever_it_is_started(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MACHETE_DATA")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert Settings.load().data == Path("/home/somebody/.local/share/machete")
    monkeypatch.setenv("XDG_DATA_HOME", str(clean))
    assert Settings.load().data == clean / "machete"
    assert Settings.load(data="~/m").data == Path("/home/somebody/m")


def test_the_reference_has_every_setting_and_nothing_of_this_machine(clean: Path) -> None:
    text = render_settings_reference([Installer])
    for name in [*Installer.model_fields]:
        assert f"| `{variable(name)}` |" in text
    for name in NOT_SETTINGS:
        assert f"| `{name}` |" in text
    assert "| `MACHETE_PORT` | `8080` | whole number, ≥ 0, ≤ 65535 |" in text
    assert "| `MACHETE_GIT_PROTOCOLS` | `https,ssh` |" in text
    assert str(clean) not in text
    assert str(Path.home()) not in text


def test_every_setting_of_every_service_is_described() -> None:
    from services.registry import settings_classes

    for cls in [Settings, *settings_classes()]:
        for name, field in cls.model_fields.items():
            assert field.description, f"{cls.__module__}.{name} has no description"
