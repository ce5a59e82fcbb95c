"""The virtual environment: exactly the locked dependencies, each checked against its hash."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from deploy.setup import debian
from deploy.setup.shell import PersonNeeded, ask, run, say

LOCK = "requirements.lock"
OLD_SERVER_LOCK = "deploy/setup/nats-2.10.lock"
OLD_SERVER_FOLDER = "nats-2.10"


def fingerprint(root: Path, python: str, files: Iterable[Path]) -> str:
    """Changes whenever the environment must be made anew: its place, its Python, or what goes into it."""
    digest = hashlib.sha256(f"{root}\n{python}\n".encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def ensure(root: Path) -> None:
    environment = root / ".venv"
    stamp = environment / "setup.stamp"
    inputs = [root / LOCK, root / OLD_SERVER_LOCK, root / "pyproject.toml"]
    python = environment / "bin" / "python"
    wanted = fingerprint(root, _version_of(python), inputs)
    if stamp.is_file() and stamp.read_text() == wanted:
        say("Python: the locked dependencies are there")
        return
    if not _works(python):
        _create(environment)
    say("Python: installing the locked dependencies")
    stamp.unlink(missing_ok=True)
    _install(root, python, environment)
    stamp.write_text(fingerprint(root, _version_of(python), inputs))


def _install(root: Path, python: Path, environment: Path) -> None:
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    run([*pip, "--require-hashes", "--requirement", root / LOCK], cwd=root)
    run([*pip, "--no-deps", "--no-build-isolation", "--editable", root], cwd=root)
    # The tests hold the oldest supported NATS server to the same promises as the newest one.
    old_server = environment / OLD_SERVER_FOLDER
    run(
        [
            *pip,
            "--require-hashes",
            "--no-deps",
            "--upgrade",
            "--target",
            old_server,
            "--requirement",
            root / OLD_SERVER_LOCK,
        ],
        cwd=root,
    )


def _version_of(python: Path) -> str:
    return ask([python, "-c", "import sys; print(sys.version)"])[1]


def _works(python: Path) -> bool:
    """False also where a half made environment, or one moved here from elsewhere, has no pip of its own."""
    expected = python.parent.parent
    probe = "import pathlib, pip, sys; print(sys.version_info >= (3, 11) and pathlib.Path(sys.prefix).resolve())"
    code, answer = ask([python, "-c", probe])
    return code == 0 and answer == str(expected.resolve())


def _create(environment: Path) -> None:
    if importlib.util.find_spec("ensurepip") is None:
        _provide_ensurepip()
    say(f"Python: making {environment.name} with Python {sys.version.split()[0]}")
    run([sys.executable, "-m", "venv", "--clear", environment])


def _provide_ensurepip() -> None:
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if not (debian.is_bookworm() and os.geteuid() == 0):
        raise PersonNeeded(
            f"{sys.executable} cannot make virtual environments (no ensurepip): on Debian and Ubuntu "
            f"`apt-get install {package}` as root, then run `make setup` again"
        )
    debian.ensure_packages([package])
