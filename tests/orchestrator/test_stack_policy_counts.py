"""How much of the engine one stack may take up by numbers alone."""

from pathlib import PurePosixPath
from typing import Any

import pytest

from services.orchestrator.domain.stacks.policy import judge
from services.orchestrator.domain.stacks.policy_counts import CONTAINERS, NETWORKS, PORTS, PROCESSES, REPLICAS
from tests.orchestrator.a_stack import a_stack, resolved


def judged(services: dict[str, Any], **more: Any) -> list[str]:
    return [str(each) for each in judge({"services": services, **more}, PurePosixPath("/repo"))]


@pytest.mark.parametrize("count", [REPLICAS + 1, str(REPLICAS + 1), 10**9, -1, "many", float("nan")])
@pytest.mark.parametrize(("where", "wrap"), [("scale", "scale"), ("deploy.replicas", "replicas")])
def test_a_service_that_asks_for_more_containers_than_one_may_have_is_told_the_limit(count: Any, where: str, wrap: str):
    service = {"image": "x", wrap: count} if wrap == "scale" else {"image": "x", "deploy": {wrap: count}}
    (sentence, *_) = judged({"web": service})
    assert sentence.startswith(f"services.web.{where}: found ")
    assert f"at most {REPLICAS} containers" in sentence


@pytest.mark.parametrize("count", [0, 1, REPLICAS, str(REPLICAS)])
def test_up_to_the_limit_a_service_has_as_many_containers_as_it_asks_for(count: Any):
    assert judged({"a": {"image": "x", "scale": count}, "b": {"image": "x", "deploy": {"replicas": count}}}) == []


def _services(total: int) -> dict[str, Any]:
    full = {f"s{index}": {"image": "x", "scale": REPLICAS} for index in range(total // REPLICAS)}
    return full | {f"t{index}": {"image": "x"} for index in range(total % REPLICAS)}


def test_a_stack_has_so_many_containers_together_and_not_one_more():
    assert judged(_services(CONTAINERS)) == []
    idle = {"by-hand": {"image": "x", "scale": 0}}
    assert judged(_services(CONTAINERS) | idle) == [], "what does not run takes up nothing"
    (sentence,) = judged(_services(CONTAINERS + 1))
    assert sentence.startswith(f'services: found "{CONTAINERS + 1} containers"; ')
    assert f"at most {CONTAINERS} containers" in sentence


def test_a_stack_has_so_many_networks_and_not_one_more():
    networks = {f"n{index}": None for index in range(NETWORKS)}
    assert judged({}, networks=networks) == []
    (sentence,) = judged({}, networks=networks | {"more": None})
    assert f"at most {NETWORKS} networks" in sentence


def test_a_stack_publishes_so_many_ports_and_not_one_more():
    ports = [{"target": 1000 + index} for index in range(PORTS)]
    assert judged({"web": {"image": "x", "ports": ports}}) == []
    (sentence,) = judged({"web": {"image": "x", "ports": ports}, "b": {"image": "x", "ports": ports[:1]}})
    assert f"at most {PORTS} ports" in sentence


@pytest.mark.parametrize("count", [0, -1, PROCESSES + 1, "max", float("inf")])
def test_processes_have_an_end_whatever_is_asked_for(count: Any):
    (sentence,) = judged({"web": {"image": "x", "pids_limit": count}})
    assert sentence.startswith("services.web.pids_limit: ")
    assert f"at most {PROCESSES}" in sentence


def test_what_a_stack_asks_for_up_to_the_ceiling_it_gets():
    found = resolved(a_stack(), {"web": {"pids_limit": PROCESSES}, "small": {"pids_limit": 7}, "plain": {}})
    limits = {name: each["deploy"]["resources"]["limits"]["pids"] for name, each in found.config["services"].items()}
    assert limits == {"web": PROCESSES, "small": 7, "plain": 2048}
