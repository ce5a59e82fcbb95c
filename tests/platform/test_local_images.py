"""PostgreSQL and Redis from packages: they are told what the official images are told, and keep what they keep."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from deploy.setup.docker_images import PUBLIC_BASE, has
from deploy.setup.images import BASE
from libs.contracts.names import random_word
from tests.support.platform_waiting import until

DEPLOY = Path(__file__).parents[2] / "deploy"
PASSWORD = "correct-horse-battery"


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return (done.stdout + done.stderr).strip()


def image(folder: str) -> str:
    """Built from what is in the folder; where set-up made it, nothing is left to do."""
    base = BASE if has(BASE) else PUBLIC_BASE
    return docker("build", "--quiet", "--build-arg", f"BASE_IMAGE={base}", str(DEPLOY / folder)).splitlines()[-1]


@contextmanager
def volume() -> Iterator[str]:
    name = f"machete-test-{random_word(8)}"
    docker("volume", "create", name)
    try:
        yield name
    finally:
        docker("volume", "rm", "--force", name)


@contextmanager
def container(*arguments: str) -> Iterator[str]:
    name = docker("run", "--detach", *arguments).splitlines()[-1]
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


@pytest.fixture
def data() -> Iterator[str]:
    with volume() as name:
        yield name


def postgres(data: str, scripts: Path) -> list[str]:
    password = scripts.parent / "password"
    password.write_text(f"{PASSWORD}\n")
    password.chmod(0o600)
    told = {"POSTGRES_USER": "shop", "POSTGRES_DB": "orders", "POSTGRES_PASSWORD_FILE": "/run/password"}
    mounts = [
        f"{data}:/var/lib/postgresql/data",
        f"{scripts}:/docker-entrypoint-initdb.d:ro",
        f"{password}:/run/password:ro",
    ]
    options = [word for name, value in told.items() for word in ("-e", f"{name}={value}")]
    return [*options, *(word for mount in mounts for word in ("-v", mount)), image("postgres")]


def asked(server: str, question: str, password: str = PASSWORD) -> str:
    """The answer over TCP, where the password counts."""
    way = f"postgresql://shop:{password}@127.0.0.1/orders"
    return docker("exec", server, "psql", way, "--tuples-only", "--no-align", "--command", question, check=False)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "scripts"
    folder.mkdir(mode=0o755)
    (folder / "1.sql").write_text("CREATE TABLE seen (what text);\n")
    (folder / "2.sh").write_text("psql -U $POSTGRES_USER -d $POSTGRES_DB -c \"INSERT INTO seen VALUES ('script')\"\n")
    return folder


async def test_postgres_is_made_once_as_it_is_told_and_asks_for_the_password(data: str, scripts: Path) -> None:
    for _ in range(2):
        with container(*postgres(data, scripts)) as server:
            await until(lambda: asked(server, "SELECT what FROM seen") == "script", "the scripts ran, once")
            assert "password authentication failed" in asked(server, "SELECT 1", "a-wrong-one")
            docker("stop", "--time", "20", server)
            assert docker("inspect", "--format", "{{.State.ExitCode}}", server) == "0"


async def test_postgres_killed_during_its_first_start_is_whole_after_the_next(data: str, scripts: Path) -> None:
    (scripts / "3.sh").write_text("echo half-way; sleep 600\n")
    with container(*postgres(data, scripts)) as server:
        await until(lambda: "half-way" in docker("logs", server), "it is in the middle of its scripts")
        docker("kill", server)
    (scripts / "3.sh").write_text("echo done\n")
    with container(*postgres(data, scripts)) as server:
        await until(lambda: asked(server, "SELECT what FROM seen") == "script", "the scripts ran from the beginning")


async def test_postgres_without_a_password_says_what_is_missing(data: str) -> None:
    with container("-v", f"{data}:/var/lib/postgresql/data", image("postgres")) as server:
        assert docker("wait", server) == "1"
        assert "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE" in docker("logs", server)


async def test_redis_answers_other_containers_and_keeps_what_it_was_given(data: str) -> None:
    redis = image("redis")
    with ExitStack() as stack:
        arguments = ("-v", f"{data}:/data", redis, "redis-server", "--appendonly", "yes")
        server = stack.enter_context(container(*arguments))
        address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", server)

        def ask(*words: str) -> str:
            return docker("run", "--rm", redis, "redis-cli", "-h", address, *words, check=False)

        await until(lambda: ask("SET", "kept", "yes") == "OK", "it takes what it is given")
        docker("restart", "--time", "20", server)
        address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", server)
        await until(lambda: ask("GET", "kept") == "yes", "it has kept it")
