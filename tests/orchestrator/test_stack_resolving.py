"""What is run of a stack: everything decided, everything labelled ours, nothing taken from around it."""

from typing import Any

import pytest

from libs.contracts.problems import Failure
from services.orchestrator.domain.names import cache_namespace
from services.orchestrator.domain.stacks.resolving import with_image_volumes
from tests.orchestrator.a_stack import INSTANCE, PROJECT, RELEASE, TOOL, a_stack, bind, resolved

OWNER = {"io.machete.instance": INSTANCE, "io.machete.tool": TOOL}
RELEASED = {**OWNER, "io.machete.release": RELEASE}
GIB = str(1024**3)
ENGINE_S_OWN = ".".join(("docker", "io"))  # the host that the engine puts in front of a name without one


def one(stated: dict[str, Any], **said: Any) -> dict[str, Any]:
    """A service called `web`, as it is run."""
    return resolved(a_stack(**said), {"web": stated}).config["services"]["web"]


def test_everything_carries_whose_it_is_and_nothing_that_changes_from_start_to_start():
    stack = a_stack()
    services = {"web": {"volumes": [{"type": "volume", "source": "db", "target": "/db"}], "build": {"context": "/x"}}}
    whole = resolved(stack, services, volumes={"db": {"name": "x_db"}}).config
    assert whole["name"] == PROJECT
    assert whole["networks"]["default"] == {"ipam": {}, "name": f"{PROJECT}_default", "labels": OWNER}
    assert whole["volumes"]["db"] == {"name": f"{PROJECT}_db", "labels": OWNER}
    assert RELEASED.items() <= whole["services"]["web"]["labels"].items()
    assert whole["services"]["web"]["build"]["labels"] == RELEASED
    assert whole == resolved(stack, services, volumes={"db": {"name": "x_db"}}).config


def test_labels_of_the_author_s_own_stay_but_those_that_would_pass_for_ours_or_compose_s():
    theirs = {"org.example": "1", "io.machete.tool": "other", "com.docker.compose.project": "other"}
    labels = one({"labels": theirs})["labels"]
    assert (labels["org.example"], labels["io.machete.tool"]) == ("1", TOOL)
    assert "com.docker.compose.project" not in labels


def test_a_service_is_known_in_labels_by_a_name_without_dots():
    assert resolved(a_stack(), {"a.b": {}}).config["services"]["a.b"]["labels"]["io.machete.service"] == "a_b"


def test_services_that_differ_in_case_or_by_a_dot_get_images_of_their_own():
    built = {"build": {"context": "/x"}}
    found = resolved(a_stack(), {"web": built, "Web": built, "a.b": built, "a_b": built})
    assert len({service.image for service in found.services}) == 4
    assert found.built == ("Web", "a.b", "a_b", "web")


def test_who_names_the_image_that_another_one_builds_means_that_one():
    found = resolved(
        a_stack(), {"one": {"build": {"context": "/x"}, "image": "mine:1"}, "two": {"image": "mine:1"}, "three": {}}
    )
    images = {service.name: service.image for service in found.services}
    assert images["one"] == images["two"] == f"machete/{INSTANCE}/{TOOL}:{RELEASE}-one"
    assert images["three"] == "some:1"
    assert found.built == ("one",)


def test_the_image_of_another_tool_is_refused():
    with pytest.raises(Failure, match=r"services\.web\.image"):
        one({"image": f"machete/{INSTANCE}/other-abc234:r"})


def test_what_is_confined_cannot_be_loosened_by_what_is_said():
    said = {"logging": {"driver": "none"}, "security_opt": ["seccomp=unconfined"], "container_name": "x"}
    found = one({**said, "profiles": ["a"], "pull_policy": "always", "develop": {}, "x-mine": 1})
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["logging"] == {"driver": "json-file", "options": {"max-size": "40m", "max-file": "5"}}
    assert not {"container_name", "profiles", "pull_policy", "develop", "x-mine"} & set(found)


def test_volumes_taken_over_from_another_service_are():
    assert one({"volumes_from": ["other:ro"]})["volumes_from"] == ["other:ro"]


@pytest.mark.parametrize(
    ("said", "limits"),
    [
        ({}, {"memory": GIB, "pids": 2048}),
        ({"mem_limit": "1000", "pids_limit": 5, "cpus": 0.5}, {"memory": "1000", "pids": 5, "cpus": "0.5"}),
        ({"mem_limit": "0"}, {"memory": GIB, "pids": 2048}),
        ({"deploy": {"resources": {"limits": {"memory": "2000"}}}}, {"memory": "2000", "pids": 2048}),
        ({"mem_reservation": str(3 * 1024**3)}, {"memory": str(3 * 1024**3), "pids": 2048}),
        ({"deploy": {"resources": {"reservations": {"memory": "5"}}}}, {"memory": GIB, "pids": 2048}),
    ],
    ids=str,
)
def test_every_service_has_limits(said: dict[str, Any], limits: dict[str, Any]):
    found = one(said)
    assert found["deploy"]["resources"]["limits"] == limits
    assert found["memswap_limit"] == limits["memory"]
    assert not {"mem_limit", "pids_limit", "cpus"} & set(found)


def test_the_manifest_s_limits_are_the_front_s():
    services = {"web": {"ports": [port(80)], "mem_limit": "9"}, "db": {}}
    found = resolved(a_stack(resources={"memory_bytes": 7_000_000, "nano_cpus": 500_000_000}), services)
    limits = {name: each["deploy"]["resources"]["limits"] for name, each in found.config["services"].items()}
    assert limits["web"] == {"memory": "7000000", "cpus": "0.5", "pids": 2048}
    assert limits["db"] == {"memory": GIB, "pids": 2048}


def port(target: int, published: str | None = None, **more: Any) -> dict[str, Any]:
    return {"mode": "ingress", "target": target, "protocol": "tcp", "published": published, **more}


def test_ports_are_bound_to_this_machine_alone_and_written_on_their_container():
    services = {"web": {"ports": [port(80, "8080", host_ip="0.0.0.0"), port(53, protocol="udp")]}, "db": {}}
    found = resolved(a_stack(), services).config["services"]
    assert {(each["host_ip"], each["target"], each["published"]) for each in found["web"]["ports"]} == {
        ("127.0.0.1", 80, "8080"),
        ("127.0.0.1", 53, "30000"),
    }
    assert found["web"]["labels"]["io.machete.port"] == "8080"
    assert found["web"]["labels"]["io.machete.ports"] == "8080,30000"
    assert "ports" not in found["db"]
    assert found["db"]["labels"]["io.machete.ports"] == ""


def test_a_port_for_several_containers_is_refused_with_a_way_out():
    with pytest.raises(Failure, match=r"web publishes port 80 and has 3 replicas.*proxy"):
        one({"ports": [port(80)], "scale": 3})


def test_services_without_replicas_are_neither_built_nor_missed():
    found = resolved(a_stack(), {"web": {}, "tests": {"build": {"context": "/x"}, "deploy": {"replicas": 0}}})
    assert [service.name for service in found.services] == ["web"]
    assert found.built == ()


def test_variables_without_a_value_are_not_taken_from_whoever_runs_compose():
    found = one({"environment": {"HOME": None, "A": "", "B": "$$x"}, "build": {"context": "/", "args": {"PATH": None}}})
    assert found["environment"] == {"A": "", "B": "$$x"}
    assert list(found["build"]["args"]) == ["BUILDKIT_CACHE_MOUNT_NS"]


def test_the_cache_of_a_tool_s_builds_is_its_own_whatever_the_author_says():
    build = {"context": "/x", "args": {"BUILDKIT_CACHE_MOUNT_NS": "another"}}
    assert one({"build": build})["build"]["args"]["BUILDKIT_CACHE_MOUNT_NS"] != "another"


@pytest.mark.parametrize(("said", "kept"), [("30s", "30s"), ("1m30s", "90s"), ("500ms", "0.5s"), ("8760h0m0s", "90s")])
def test_a_service_may_take_its_time_to_stop_but_not_for_ever(said: str, kept: str):
    assert one({"stop_grace_period": said})["stop_grace_period"] == kept


def test_swap_is_not_had_beyond_the_limit_of_memory():
    settled = one({"mem_limit": "104857600", "memswap_limit": "-1"})
    assert settled["memswap_limit"] == settled["deploy"]["resources"]["limits"]["memory"] == "104857600"


@pytest.mark.parametrize(
    "image",
    [
        "machete/i/t:r",
        f"{ENGINE_S_OWN}/machete/i/t:r",
        f"index.{ENGINE_S_OWN}/machete/i/t:r",
        "sha256:" + "a" * 64,
        "a" * 12,
    ],
)
def test_an_image_of_another_tool_is_not_run_by_any_of_its_names(image: str):
    with pytest.raises(Failure, match="an image that MACHETE built"):
        one({"image": image})


def test_the_manifest_s_variables_are_the_front_s_and_come_through_whole():
    said = {"BOTH": "manifest", "DOLLARS": "$HOME ${X} $$"}
    services = {"web": {"ports": [port(80)], "environment": {"BOTH": "compose", "OWN": "1"}}, "db": {}}
    found = resolved(a_stack(environment=said), services).config["services"]
    assert found["web"]["environment"] == {"BOTH": "manifest", "OWN": "1", "DOLLARS": "$$HOME $${X} $$$$"}
    assert not found["db"]["environment"]


def test_build_arguments_of_the_platform_reach_every_build_but_where_the_author_says_otherwise():
    stack = a_stack(arguments={"BASE": "a$b", "PROXY": "p"})
    build = {"context": "/x", "target": "t", "args": {"PROXY": "own"}, "tags": ["x"], "cache_to": ["y"]}
    found = resolved(stack, {"web": {"build": build}}).config["services"]["web"]["build"]
    ours = {"BUILDKIT_CACHE_MOUNT_NS": cache_namespace(stack.instance, stack.tool)}
    assert found["args"] == {"BASE": "a$$b", "PROXY": "own", **ours}
    assert (found["target"], "tags" in found, "cache_to" in found) == ("t", False, False)


def test_a_service_is_reached_by_its_container_s_name_on_all_its_networks():
    services = {"db": {"container_name": "the-db", "networks": {"a": {"aliases": ["x"]}, "b": None}}}
    found = resolved(a_stack(), services).config["services"]["db"]["networks"]
    assert found == {"a": {"aliases": ["x", "the-db"]}, "b": {"aliases": ["the-db"]}}


def test_who_shares_another_s_network_joins_none_and_cannot_be_the_front():
    services = {"main": {}, "beside": {"network_mode": "service:main"}}
    assert "networks" not in resolved(a_stack(), services).config["services"]["beside"]
    with pytest.raises(Failure, match="publish port 80 there"):
        resolved(a_stack(service="beside", port=80), services)


def test_volumes_that_an_image_declares_get_names_unless_something_is_mounted_there():
    services = {"web": {"volumes": [bind("a", "/a")], "tmpfs": ["/t:size=1"]}}
    stack = a_stack()
    found = resolved(stack, services).config
    with_image_volumes(stack, found, {"web": ("/a/", "/t", "/declared")})
    (volume,) = found["volumes"]
    assert found["volumes"][volume] == {"name": f"{PROJECT}_{volume}", "labels": OWNER}
    assert found["services"]["web"]["volumes"][1:] == [
        {"type": "volume", "source": volume, "target": "/declared", "volume": {}}
    ]


@pytest.mark.parametrize("said", [{"restart": "always"}, {"deploy": {"restart_policy": {"condition": "any"}}}], ids=str)
def test_the_engine_never_starts_by_itself_what_was_stopped_for_good(said: dict[str, Any]):
    service = resolved(a_stack(), {"web": said}).config["services"]["web"]
    assert service["restart"] == "unless-stopped"
    assert "restart_policy" not in service["deploy"]


def test_it_is_known_how_many_containers_of_a_service_should_run():
    services = {"one": {}, "three": {"scale": 3}, "two": {"deploy": {"replicas": 2}}}
    assert {each.name: each.replicas for each in resolved(a_stack(), services).services} == {
        "one": 1,
        "three": 3,
        "two": 2,
    }


def test_secrets_and_configs_stay_as_they_are_asked_for():
    whole = resolved(a_stack(), {"web": {}}, secrets={"s": {"file": "/x"}}, configs={}).config
    assert whole["secrets"] == {"s": {"file": "/x"}}
    assert "configs" not in whole
