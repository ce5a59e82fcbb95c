"""Whose an image is by its name, and what BuildKit is told of it."""

import re

import pytest

from services.orchestrator.domain.tool_images import (
    denied_image,
    is_of_a_tool,
    is_of_another_tool,
    never_an_id,
    source_policy,
)

MINE = "machete/abcd2345/web-abc234"
HUB = "docker.io"


def allowed(identifier: str) -> bool:
    """As BuildKit goes through the rules: the last one that matches counts, and without one all is allowed."""
    verdict = True
    for rule in source_policy(MINE)["rules"]:
        assert rule["selector"]["match_type"] == "REGEX"
        if re.search(rule["selector"]["identifier"], identifier):
            verdict = rule["action"] == "ALLOW"
    return verdict


@pytest.mark.parametrize(
    "name",
    [
        f"{HUB}/library/python:3.12-slim",
        f"{HUB}/library/machete-busybox:latest",
        f"{HUB}/library/a@sha256:{'0' * 64}",
        f"{HUB}/library/a:1@sha256:{'0' * 64}",
        "registry.example.org/machete/abcd2345/other-abc234:r",
        "registry.example.org:5000/a/b__c/d-e.f:V_1.2-x",
        "localhost/a:1",
        "localhost:5000/a:1",
        "registry:5000/a:1",
        "[::1]:5000/a:1",
        f"{HUB}/{MINE}:r1r1r1r1r1r1",
        f"{HUB}/{MINE}:r1r1r1r1r1r1-db",
        f"{HUB}/{MINE}@sha256:{'0' * 64}",
    ],
)
def test_a_build_reads_public_images_and_its_own_tool_s(name: str):
    assert allowed(f"docker-image://{name}")


@pytest.mark.parametrize("source", ["git://github.com/a/b", "https://example.org/x", "local://context"])
def test_what_is_no_image_is_not_judged_by_names_of_images(source: str):
    assert allowed(source)


@pytest.mark.parametrize(
    "name",
    [
        f"{HUB}/machete/abcd2345/other-abc234:r",
        f"{HUB}/machete/zzzzzzzz/web-abc234:r",
        f"{HUB}/{MINE}4:r",
        f"{HUB}/{MINE}/deeper:r",
        f"{HUB}/{MINE}x@sha256:{'0' * 64}",
        f"index.{HUB}/machete/abcd2345/other-abc234:r",
    ],
)
def test_a_build_reads_no_image_of_another_tool(name: str):
    assert not allowed(f"docker-image://{name}")


@pytest.mark.parametrize(
    "name",
    [
        "machete/abcd2345/other-abc234:r",
        f"{HUB}/%6dachete/abcd2345/other-abc234:r",
        f"{HUB}//machete/abcd2345/other-abc234:r",
        f"{HUB}/x/../machete/abcd2345/other-abc234:r",
        f"{HUB}/./machete/abcd2345/other-abc234:r",
        f"a@{HUB}/machete/abcd2345/other-abc234:r",
        f"{HUB}/machete/abcd2345/other-abc234?x=.y/z:1",
        f"a.b/c:1#@{HUB}/machete/abcd2345/other-abc234",
        f"{HUB}\\machete/abcd2345/other-abc234:r",
        f" {HUB}/machete/abcd2345/other-abc234:r",
        f"moby-dangling@sha256:{'0' * 64}",
        f"sha256:{'0' * 64}",
        "",
    ],
)
def test_a_name_that_is_not_written_out_in_full_is_not_left_for_others_to_take_apart(name: str):
    assert not allowed(f"docker-image://{name}")


@pytest.mark.parametrize("image", ["sha256:a", f"sha256:{'a' * 64}", "a" * 12, "0" * 64, f"{HUB}/machete/i/t:r"])
def test_an_id_and_the_name_of_a_tool_s_image_are_none_that_a_stack_runs(image: str):
    assert is_of_a_tool(image)


@pytest.mark.parametrize("image", ["machete-busybox", "python:3.12", "a.example.org/machete/x", "postgres", "cafe"])
def test_other_names_are(image: str):
    assert not is_of_a_tool(image)


@pytest.mark.parametrize("image", ["cafe", "f", "library/cafe", f"{HUB}/cafe", f"index.{HUB}/library/0a1", "a" * 11])
def test_a_name_that_could_be_the_beginning_of_an_id_is_said_with_its_version(image: str):
    assert never_an_id(image) == f"{image}:latest"


@pytest.mark.parametrize("image", ["cafe:1", "nginx", "me/cafe", "cafe@sha256:0", "a.b/cafe", ""])
def test_any_other_name_stays_as_it_is(image: str):
    assert never_an_id(image) == image


def test_labels_say_whose_an_image_is_whatever_it_is_called():
    theirs = {"io.machete.instance": "abcd2345", "io.machete.tool": "other-abc234"}
    assert is_of_another_tool(theirs, "abcd2345", "web-abc234")
    assert is_of_another_tool({"io.machete.instance": "abcd2345"}, "abcd2345", "web-abc234")
    assert not is_of_another_tool(theirs, "abcd2345", "other-abc234")
    assert not is_of_another_tool(theirs, "zzzzzzzz", "web-abc234"), "what another platform published is anybody's"
    assert not is_of_another_tool({}, "abcd2345", "web-abc234")


def test_the_image_that_was_refused_is_found_in_what_buildkit_says():
    said = f'could not resolve: source "docker-image://{HUB}/machete/i/t:r" denied by policy: source denied by policy'
    assert denied_image(said) == "machete/i/t:r"
    assert denied_image("process did not complete") is None
