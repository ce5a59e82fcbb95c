"""What set-up decides about an engine, from what it sees on the machine."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.setup import daemon, engine
from deploy.setup.cgroups import Mount, missing_mounts

READY = engine.Machine(server="26.1.5", client=True, compose=True, buildx=True, dockerd=True, may_install=True)
BARE = engine.Machine(server=None, client=False, compose=False, buildx=False, dockerd=False, may_install=True)
CONTROLLERS = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"


def test_nothing_is_done_where_an_engine_answers() -> None:
    assert not engine.work_for(READY)


def test_a_bare_machine_gets_all_of_it() -> None:
    work = engine.work_for(BARE)
    assert work == engine.Work(("docker.io", "docker-cli", "docker-compose", "docker-buildx"), start=True)
    assert engine.obstacle(BARE, work) is None


def test_an_installed_engine_that_is_down_is_only_started() -> None:
    assert engine.work_for(replace(READY, server=None)) == engine.Work((), start=True)


def test_a_docker_command_of_other_origin_is_kept() -> None:
    assert "docker-cli" not in engine.work_for(replace(BARE, client=True)).packages


def test_only_what_the_command_line_lacks_is_added_to_a_running_engine() -> None:
    assert engine.work_for(replace(READY, compose=False)) == engine.Work(("docker-compose",), start=False)


def test_a_person_who_may_not_install_is_told_what_to_do() -> None:
    machine = replace(BARE, may_install=False)
    assert "install and start one" in str(engine.obstacle(machine, engine.work_for(machine)))
    machine = replace(READY, buildx=False, may_install=False)
    assert "docker-buildx is missing" in str(engine.obstacle(machine, engine.work_for(machine)))


def test_an_engine_elsewhere_is_not_replaced_by_one_here() -> None:
    machine = replace(BARE, docker_host="tcp://elsewhere:2376")
    assert "DOCKER_HOST=tcp://elsewhere:2376" in str(engine.obstacle(machine, engine.work_for(machine)))


@pytest.mark.parametrize(
    ("environment", "answer"),
    [
        ({}, None),
        ({"CI": "true"}, True),
        ({"CI": "false"}, None),
        ({"MACHETE_SETUP_ENGINE": "1"}, True),
        ({"MACHETE_SETUP_ENGINE": "0", "CI": "true"}, False),
    ],
    ids=str,
)
def test_consent_is_read_from_the_environment(environment: dict[str, str], answer: bool | None) -> None:
    assert engine.consent(environment) is answer


def test_live_restore_is_added_and_nothing_else_changed() -> None:
    assert json.loads(daemon.with_live_restore("")) == {"live-restore": True}
    before = {"log-driver": "local", "live-restore": False}
    assert json.loads(daemon.with_live_restore(json.dumps(before))) == before


def test_a_configuration_that_is_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="not a JSON object"):
        daemon.with_live_restore("[]")


@pytest.mark.parametrize(
    ("stat", "pid"),
    [
        ("41 (dockerd) S 1 41", 41),
        ("41 (dockerd) Z 1 41", None),
        ("41 (bash) S 1 41", None),
        ("41 (od) d (x) S 1 41", None),
    ],
)
def test_a_pid_file_is_believed_only_where_its_program_lives(tmp_path: Path, stat: str, pid: int | None) -> None:
    (tmp_path / "41").mkdir()
    (tmp_path / "41" / "stat").write_text(stat)
    (tmp_path / "docker.pid").write_text("41\n")
    assert daemon.owner(tmp_path / "docker.pid", "dockerd", proc=tmp_path) == pid


@pytest.mark.parametrize("text", ["", "half a wri", "99"])
def test_a_pid_file_of_nobody_is_stale(tmp_path: Path, text: str) -> None:
    (tmp_path / "docker.pid").write_text(text)
    assert daemon.owner(tmp_path / "docker.pid", "dockerd", proc=tmp_path) is None


def test_a_socket_left_behind_is_told_from_one_that_is_served(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert daemon.listens(path)
    assert path.exists()
    assert not daemon.listens(path)


def test_version_2_is_mounted_where_nothing_is() -> None:
    controllers = CONTROLLERS + "memory\t0\t1\t1\npids\t0\t1\t1\n"
    assert missing_mounts(controllers, "proc /proc proc rw 0 0\n") == [
        Mount("cgroup2", "nosuid,nodev,noexec", "/sys/fs/cgroup")
    ]


def test_a_mounted_version_2_is_left_alone() -> None:
    mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"
    assert missing_mounts(CONTROLLERS + "memory\t0\t1\t1\n", mounts) == []


def test_version_1_is_completed_where_it_is_in_use() -> None:
    controllers = CONTROLLERS + "memory\t3\t1\t1\npids\t4\t1\t1\ncpu\t5\t1\t0\nperf_event\t6\t1\t1\n"
    mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n"
    assert missing_mounts(controllers, mounts) == [Mount("cgroup", "pids", "/sys/fs/cgroup/pids")]


def test_version_1_is_mounted_whole_where_its_controllers_are_taken_but_not_seen() -> None:
    mounts = missing_mounts(CONTROLLERS + "memory\t3\t1\t1\n", "proc /proc proc rw 0 0\n")
    assert mounts == [Mount("tmpfs", "mode=755", "/sys/fs/cgroup"), Mount("cgroup", "memory", "/sys/fs/cgroup/memory")]
