import re
from pathlib import Path

import pytest

from services.orchestrator.domain.builds import BuildLog, already_there, build_argv, build_environment, readable
from services.orchestrator.domain.failures import BuildFailed, EngineAway
from services.orchestrator.domain.names import cache_namespace
from services.orchestrator.domain.specs import BuildSpec

SPEC = BuildSpec("abcd2345", "web-abc234", "r1r1r1r1r1r1", Path("/source"), arguments={"B": "2 3", "A": "$(id)"})

FAILED = """\
#0 building with "default" instance using docker driver
#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s
#5 [2/3] RUN make install
#5 0.21 make: *** No rule to make target 'install'.  Stop.
#5 ERROR: process "/bin/sh -c make install" did not complete successfully: exit code: 2
------
 > [2/3] RUN make install:
------
ERROR: failed to solve: process "/bin/sh -c make install" did not complete successfully: exit code: 2
"""


def failure_of(text: str, code: int = 1):
    log = BuildLog()
    log.read(text.splitlines())
    return log.failure(code)


def test_the_build_command_is_exactly_this():
    assert build_argv(SPEC, ["/plugins/docker-buildx"]) == [
        "/plugins/docker-buildx",
        "build",
        "--builder=default",
        "--progress=plain",
        "--provenance=false",
        "--load",
        "--file=Dockerfile",
        "--tag=machete/abcd2345/web-abc234:r1r1r1r1r1r1",
        "--label=io.machete.instance=abcd2345",
        "--label=io.machete.tool=web-abc234",
        "--label=io.machete.release=r1r1r1r1r1r1",
        "--build-arg=A=$(id)",
        "--build-arg=B=2 3",
        f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={cache_namespace('abcd2345', 'web-abc234')}",
        ".",
    ]


def test_a_build_sees_nothing_of_the_platforms_environment(monkeypatch):
    monkeypatch.setenv("MACHETE_ADMIN_TOKEN", "canary")
    environment = build_environment({"DOCKER_HOST": "unix:///engine"}, "/home/of/client", "/usr/bin")
    assert environment == {
        "DOCKER_HOST": "unix:///engine",
        "PATH": "/usr/bin",
        "HOME": "/home/of/client",
        "DOCKER_CONFIG": "/home/of/client",
        "BUILDX_GIT_INFO": "false",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
    }


def test_a_failed_build_names_its_step_and_keeps_the_last_lines():
    failure = failure_of(FAILED)
    assert isinstance(failure, BuildFailed)
    assert failure.message == (
        "The build failed at step 2/3 `RUN make install`: "
        'process "/bin/sh -c make install" did not complete successfully: exit code: 2: its last lines say why.'
    )
    assert failure.detail is not None
    assert "#5 0.21 make: *** No rule to make target 'install'.  Stop." in failure.detail["log"]


def test_a_dockerfile_that_cannot_be_read_is_named_without_a_step():
    failure = failure_of(
        "ERROR: failed to solve: dockerfile parse error on line 2: unknown instruction: FRM (did you mean FROM?)"
    )
    assert failure.message == (
        "The build failed: dockerfile parse error on line 2: unknown instruction: FRM (did you mean FROM?): "
        "mend the Dockerfile, or what it takes in."
    )


def test_a_client_that_says_nothing_is_told_by_its_exit_code():
    assert failure_of("", 137).message == (
        "The build failed: the BuildKit client ended with exit code 137: its last lines say why."
    )


def test_an_engine_lost_in_a_build_is_not_the_builds_failure():
    failure = failure_of(
        "ERROR: failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF"
    )
    assert isinstance(failure, EngineAway)


@pytest.mark.parametrize(
    "said",
    [
        "failed to update builder last activity time: write /d/activity/.tmp-default41: no space left on device",
        "failed to solve: failed to copy files: copy file range failed: no space left on device",
        "failed to solve: write /var/lib/docker/x: disk quota exceeded",
    ],
)
def test_a_disk_without_room_is_not_the_builds_failure(said: str):
    failure = failure_of(f"#1 [internal] load build definition\nERROR: {said}\n")
    assert failure.code == "disk_full"
    reason = said.removeprefix("failed to solve: ")
    assert failure.message == (
        f"A disk of this machine is full, {reason}: free some space, or uninstall a tool, and try again."
    )
    assert failure.detail is not None
    assert failure.detail["log"][-1] == f"ERROR: {said}"


def test_a_step_that_has_no_room_is_the_builds_failure():
    step = 'process "/bin/sh -c dd of=/small # no space left on device" did not complete successfully: exit code: 1'
    assert isinstance(failure_of(f"ERROR: failed to solve: {step}"), BuildFailed)


@pytest.mark.parametrize("words", ["connection reset by peer", "code = Unavailable", "transport is closing"])
def test_a_step_that_fails_with_the_engines_last_words_is_the_builds_failure(words: str):
    failure = failure_of(
        f'ERROR: failed to solve: process "/bin/sh -c false # {words}" did not complete successfully: exit code: 1'
    )
    assert isinstance(failure, BuildFailed)


def test_a_build_log_carries_no_escape_sequences():
    assert readable("\x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07 \x00\x9b2Jok\tend") == "red link 2Jok\tend"


def test_a_long_build_log_is_held_only_in_its_last_lines():
    log = BuildLog()
    for number in range(100_000):
        log.read([f"#7 1.0 line {number}"])
    assert log.last_lines == [f"#7 1.0 line {number}" for number in range(99_980, 100_000)]


def test_every_tool_has_a_build_cache_of_its_own_that_another_cannot_name():
    names = {cache_namespace(instance, tool) for instance in ("one", "two") for tool in ("web-abc234", "web-abc235")}
    assert len(names) == 4
    assert all(re.fullmatch(r"[0-9a-f]{32}", name) for name in names)


def test_a_build_with_nothing_to_do_names_what_is_there():
    assert already_there(["b", "a", "b"]) == "the images a, b of this release are there already: nothing to build"
