"""A real OpenSSH server on loopback, with keys of its own, that serves Git repositories and can be told to misbehave.

with SshServer(tmp_path) as server:
    commit_files(server.repository("tool"), TOOL)
    server.trust(known_hosts)
    url = server.url("tool")
"""

import getpass
import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import psutil

from deploy.setup.sshd import found
from libs.runtime.embedded import LAUNCHER

PATIENCE = 20.0
# OpenSSH wants it as root; its package makes it when the system's own service starts.
PRIVILEGE_FOLDER = Path("/run/sshd")


class SshServer:
    """`key` is the private key that is let in. It dies with the test process."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.user = getpass.getuser()
        self.port = _free_port()
        self.key = make_key(folder / "client")
        self._host_key = make_key(folder / "host")
        self._authorized = folder / "authorized_keys"
        self._log = folder / "sshd.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.let_in()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def repository(self, name: str) -> Path:
        return self.folder / "repositories" / f"{name}.git"

    def url(self, name: str) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}{self.repository(name)}"

    def scp_like(self, name: str) -> str:
        """Without a port, as this form cannot name one."""
        return f"{self.user}@127.0.0.1:{self.repository(name)}"

    @property
    def host_line(self) -> str:
        """What `ssh-keyscan` would print."""
        return f"[127.0.0.1]:{self.port} {public_half(self._host_key)}\n"

    def trust(self, known_hosts: Path, line: str | None = None) -> None:
        known_hosts.write_text(self.host_line if line is None else line)

    def let_in(self, key: Path | None = None, *, running: Path | None = None) -> None:
        """From now on this key alone; with `running`, every session runs that program instead of what it asks for."""
        option = f'command="{running}" ' if running else ""
        self._authorized.write_text(option + public_half(key or self.key) + "\n")

    def let_nobody_in(self) -> None:
        self._authorized.write_text("")

    def program(self, text: str) -> Path:
        """A script for `let_in`; it finds what was asked for in SSH_ORIGINAL_COMMAND."""
        path = self.folder / f"program-{len(list(self.folder.glob('program-*')))}"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o700)
        return path

    def connections(self) -> int:
        """How many there were so far."""
        return self._log.read_text().count("Connection from ")

    def start(self) -> None:
        program = found()
        assert program is not None, "there is no sshd: run `make setup`"
        if os.geteuid() == 0:
            PRIVILEGE_FOLDER.mkdir(mode=0o755, exist_ok=True)
        config = self.folder / "sshd_config"
        config.write_text(self._config())
        argv = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), program, "-D", "-e", "-f", str(config)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE
        while "Server listening" not in self._log.read_text():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"sshd did not start: {self._log.read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """The server and all its sessions at once, without a word to anybody."""
        if self._process is None:
            return
        main = psutil.Process(self._process.pid)
        everybody = [main, *main.children(recursive=True)]
        for process in everybody:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue  # it ended by itself
        self._process.wait()
        psutil.wait_procs(everybody, timeout=PATIENCE)
        self._process = None

    def _config(self) -> str:
        options = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": self._host_key,
            "AuthorizedKeysFile": self._authorized,
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",  # the folder of a test may lie below one that others write to
            "AllowUsers": self.user,
            "PermitRootLogin": "prohibit-password",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "AcceptEnv": "GIT_PROTOCOL",
            "PrintMotd": "no",
            "LogLevel": "VERBOSE",
        }
        return "".join(f"{name} {value}\n" for name, value in options.items())


def make_key(path: Path, passphrase: str = "") -> Path:
    path.unlink(missing_ok=True)
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "a test", "-f", str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    return path


def public_half(key: Path) -> str:
    return key.with_name(f"{key.name}.pub").read_text().strip()


def ssh_with_port(folder: Path, port: int) -> Path:
    """A folder for the front of PATH whose `ssh` is the real one, with a default port that tests may listen on."""
    folder.mkdir()
    real = subprocess.run(["which", "ssh"], check=True, capture_output=True, text=True).stdout.strip()
    program = folder / "ssh"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(real)} -p {port} "$@"\n')
    program.chmod(0o700)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
