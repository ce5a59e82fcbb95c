"""docker-compose.yml, .env.example and the lock files follow the code: nothing that was added is left out."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.platform import IMAGE, first_env, read_env
from deploy.provisioning import NATS_USERS, PLATFORM
from deploy.setup.parts import FOR_PLATFORM
from libs.contracts.permissions import permissions
from libs.runtime.variables import variable
from libs.runtime.version import VERSION
from services import registry

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
# Users and passwords come as files that each service alone can see.
NOT_PASSED_ON = {
    "MACHETE_AGENTS_KEY",
    "MACHETE_ANSWERS_PASSWORD",
    "MACHETE_NATS_PASSWORD",
    "MACHETE_NATS_USER",
    "MACHETE_WARDEN_PASSWORD",
}
COMMENTED = re.compile(r"^#([A-Z0-9_]+)=(.*)$", re.MULTILINE)


def compose_config(environment: dict[str, str]) -> Any:
    argv = ["docker", "compose", "--env-file", os.devnull, "config", "--format", "json"]
    path = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(argv, cwd=ROOT, env={**path, **environment}, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["services"]


@pytest.mark.parametrize("service", registry.known())
def test_every_setting_of_a_service_can_be_set_from_outside(service: str) -> None:
    wanted = {variable(name) for name in registry.settings_class(service).model_fields} - NOT_PASSED_ON
    given = set(yaml.safe_load(COMPOSE)["services"][service]["environment"])
    assert wanted - given == set(), "docker-compose.yml does not pass these on"
    assert given - wanted == set(), "the service knows no such setting, and would not start"


def test_every_service_has_a_container() -> None:
    assert set(registry.known()) <= set(yaml.safe_load(COMPOSE)["services"])


def test_the_example_explains_every_variable_of_the_compose_file_and_no_other() -> None:
    named = set(re.findall(r"\$\{([A-Z0-9_]+)", COMPOSE + (ROOT / "deploy" / "caddy" / "domain.yml").read_text()))
    explained = {name for name, _ in COMMENTED.findall(EXAMPLE)}
    assert explained - {"BASE_IMAGE"} == named


def test_the_values_shown_in_the_example_are_those_that_hold() -> None:
    shown = {name: value for name, value in COMMENTED.findall(EXAMPLE) if value}
    unset = compose_config({})
    assert compose_config({**shown, "BASE_IMAGE": ""}) == with_defaults(unset, shown)


def with_defaults(configuration: Any, shown: dict[str, str]) -> Any:
    """What is passed on empty is the service's own default, which the example must name."""
    defaults = {
        variable(name): field.default
        for each in registry.settings_classes()
        for name, field in each.model_fields.items()
    }
    for service in configuration.values():
        for name, value in service.get("environment", {}).items():
            if value == "" and name in shown and name != "MACHETE_TRUSTED_PROXIES":
                assert same(shown[name], defaults[name]), f"{name}: {shown[name]} is shown, {defaults[name]} holds"
                service["environment"][name] = shown[name]
    return configuration


def same(shown: str, default: object) -> bool:
    if isinstance(default, tuple):
        return shown.split(",") == list(default)
    return float(shown) == default if isinstance(default, int | float) else shown == str(default)


def test_whoever_starts_it_can_read_the_token_and_root_gives_it_to_nobody_in_particular() -> None:
    mine = read_env(first_env(EXAMPLE, 1000, 1001))
    assert (mine["MACHETE_UID"], mine["MACHETE_GID"]) == ("1000", "1001")
    assert first_env(EXAMPLE, 0, 0) == EXAMPLE
    assert read_env(EXAMPLE) == {}


def test_each_nats_user_belongs_to_one_service_or_to_provisioning() -> None:
    given = [user for users in NATS_USERS.values() for user in users]
    assert sorted([*given, PLATFORM]) == sorted(permissions())
    assert set(NATS_USERS) == set(registry.known())


def test_the_public_images_named_in_both_places_are_the_same() -> None:
    for part in FOR_PLATFORM:
        assert f"${{{part.argument}:-{part.public}}}" in COMPOSE


def test_the_image_is_tagged_with_the_version() -> None:
    assert f"machete:{VERSION}" == IMAGE
    assert COMPOSE.count(f"${{MACHETE_IMAGE:-{IMAGE}}}") == COMPOSE.count("MACHETE_IMAGE")


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*])?==(\S+)", path.read_text(), re.MULTILINE))


def test_images_get_the_versions_that_were_tested() -> None:
    tested, shipped = pins(ROOT / "requirements.lock"), pins(ROOT / "deploy" / "runtime.lock")
    assert {name: tested.get(name) for name in shipped} == shipped
    assert pins(ROOT / "deploy" / "nats" / "nats.lock").items() <= tested.items()
    project = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[0]
    named = re.findall(r'^    "([a-z0-9-]+)', project, re.MULTILINE)
    assert len(named) > 15
    assert set(named) <= set(shipped), "run `make lock`: images would lack these"
