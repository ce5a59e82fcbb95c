"""Which services of a stack run once, and which are to be started again whenever they end."""

from typing import Any

import pytest

from libs.contracts.manifest_values import Restart
from services.orchestrator.domain.stacks.jobs import jobs, restart_of


def test_whoever_is_awaited_to_its_end_is_a_job():
    services: dict[str, Any] = {
        "web": {
            "depends_on": {
                "migrate": {"condition": "service_completed_successfully"},
                "db": {"condition": "service_healthy"},
                "cache": {"condition": "service_started"},
            }
        },
        "migrate": {},
        "db": {},
        "cache": {},
    }
    assert jobs(services) == {"migrate"}


@pytest.mark.parametrize(
    ("said", "job", "restart"),
    [
        ({}, False, "unless-stopped"),
        ({"restart": "no"}, True, "no"),
        ({"restart": "on-failure"}, True, "on-failure"),
        ({"restart": "on-failure:3"}, True, "on-failure:3"),
        ({"restart": "always"}, False, "unless-stopped"),
        ({"restart": "unless-stopped"}, False, "unless-stopped"),
        ({"deploy": {"restart_policy": {"condition": "none"}}}, True, None),
        ({"deploy": {"restart_policy": {"condition": "on-failure"}}}, True, None),
        ({"deploy": {"restart_policy": {"condition": "any"}}}, False, "unless-stopped"),
        ({"deploy": {"replicas": 2}}, False, "unless-stopped"),
    ],
    ids=str,
)
def test_what_is_not_to_be_started_again_is_a_job(said: dict[str, Any], job: bool, restart: str | None):
    assert ("web" in jobs({"web": said})) is job
    assert restart_of(said, job) == restart


@pytest.mark.parametrize(
    ("manifest", "engine"),
    [("always", "unless-stopped"), ("unless-stopped", "unless-stopped"), ("on-failure", "on-failure"), ("no", "no")],
)
def test_a_service_that_says_nothing_goes_by_the_manifest_and_a_job_or_one_that_does_is_not_touched(
    manifest: Restart, engine: str
):
    assert restart_of({}, False, manifest) == engine
    assert restart_of({}, True, manifest) == "no"
    assert restart_of({"restart": "unless-stopped"}, False, manifest) == "unless-stopped"


def test_a_job_without_a_word_of_restarting_ends_for_good():
    assert restart_of({}, job=True) == "no"
