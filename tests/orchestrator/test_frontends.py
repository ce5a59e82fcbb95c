"""By which program a Dockerfile is read."""

import pytest

from libs.contracts.problems import Failure
from services.orchestrator.domain.frontends import check_frontend, is_own


@pytest.mark.parametrize(
    "reference",
    [
        "docker/dockerfile",
        "docker/dockerfile:1",
        "{}/docker/dockerfile:1".format("docker.io"),
        "docker/dockerfile:1.3",
        "docker/dockerfile:1.12.1",
        "docker/dockerfile:1-labs",
        "docker/dockerfile:1.7-labs",
        "docker/dockerfile:labs",
        "docker/dockerfile:latest",
        "docker/dockerfile-upstream:master",
    ],
)
def test_docker_s_own_reads_dockerfiles(reference: str):
    assert is_own(reference)
    check_frontend(f"# syntax={reference}\nFROM x\n".encode(), "it")


@pytest.mark.parametrize(
    "reference",
    [
        "me/mine",
        "docker/dockerfile:1.0-experimental",
        "docker/dockerfile:1.2",
        "docker/dockerfile:experimental",
        f"docker/dockerfile:1@sha256:{'0' * 64}",
        "me/docker/dockerfile:1",
        "docker/dockerfile-me:1",
        "evil.example.org/docker/dockerfile:1",
        "docker/dockerfile:1\tmore",
        "machete/abcd2345/web-abc234:r",
    ],
)
@pytest.mark.parametrize(
    "written",
    [
        "# syntax={}\nFROM x",
        "#syntax = {}\r\nFROM x",
        "#\tSYNTAX\t=\t{}   \n",
        "# escape=`\n# Syntax={}\nFROM x",
        "// syntax={}\nFROM x",
        "#!/usr/bin/env tool\n# syntax={}\nFROM x",
        "#!/usr/bin/env tool\n// syntax={}\nFROM x",
        "\ufeff# syntax={}\nFROM x",
        "#!x\n\ufeff# syntax={}",
        "# check=skip=all\n\n# said later\n# syntax={} --with arguments\nFROM x",
    ],
)
def test_no_other_one_does_however_it_is_named(reference: str, written: str):
    with pytest.raises(Failure, match=r"^web: .*write docker/dockerfile:1\.$") as refused:
        check_frontend(written.format(reference).encode(), "web")
    assert refused.value.code == "policy_refused"


@pytest.mark.parametrize(
    "text", ['{"syntax": "me/mine"}', ' \n{"Syntax":"me/mine"}', '#!x\n{"s\\u0079ntax":"me/mine"}']
)
def test_json_that_names_one_is_no_dockerfile(text: str):
    with pytest.raises(Failure, match="no Dockerfile, but one in JSON"):
        check_frontend(text.encode(), "web")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "FROM x\n",
        "FROM x\n# syntax=me/mine\n",
        "# The syntax of this file is plain\nFROM x",
        "# syntax\nFROM x",
        "# syntax=\nFROM x",
        "# escape=`\nFROM x",
        "\xff\xfe",
    ],
)
def test_a_dockerfile_that_names_none_is_read_by_the_engine_s_own(text: str):
    check_frontend(text.encode("latin-1"), "web")
