"""A Docker Engine started, watched and stopped without systemd.

It runs detached from whoever started it and with `live-restore`: containers go on when the daemon is killed,
and the next daemon finds them again. What a killed one leaves behind (pid files whose number now belongs to
someone else, sockets nobody listens on, a containerd that no longer answers) is told from what is alive
before anything is removed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from deploy.setup import cgroups
from deploy.setup.shell import SetupFailed, ask, clean_environment, run, say

CONFIGURATION = Path("/etc/docker/daemon.json")
PID_FILE = Path("/var/run/docker.pid")
CONTAINERD_PID_FILE = Path("/var/run/docker/containerd/containerd.pid")
SYSTEM_CONTAINERD_SOCKET = Path("/run/containerd/containerd.sock")
LOG = Path("/var/log/machete-dockerd.log")
OURS = Path("/var/run/machete-dockerd.pid")
SYSTEMD = Path("/run/systemd/system")
PATIENCE = 60.0  # seconds until a started engine must answer


def answers() -> str | None:
    """The version of the engine the docker command reaches, or None."""
    code, version = ask(["docker", "version", "--format", "{{.Server.Version}}"], timeout=15)
    return version.splitlines()[-1] if code == 0 and version else None


def with_live_restore(configuration: str) -> str:
    """`daemon.json` with live-restore on, unless it says otherwise itself; everything else as it was."""
    values = json.loads(configuration or "{}")
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    return json.dumps({"live-restore": True, **values}, indent=2) + "\n"


def process_state(pid: int, proc: Path = Path("/proc")) -> tuple[str, str] | None:
    """Name and state letter of a process, or None if there is none."""
    try:
        text = (proc / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, rest = text.split("(", 1)[1].rsplit(")", 1)
    return name, rest.split()[0]


def owner(pid_file: Path, program: str, proc: Path = Path("/proc")) -> int | None:
    """The living `program` a pid file names; None for a dead one, a zombie, another program."""
    try:
        pid = int(pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    found = process_state(pid, proc)
    return pid if found is not None and found[0] == program and found[1] != "Z" else None


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def start() -> None:
    """Start the engine and return when it answers; raises SetupFailed with the end of its log."""
    _configure()
    if SYSTEMD.is_dir():
        run(["systemctl", "enable", "--now", "docker"])
        return _await_answer(None)
    running = owner(PID_FILE, "dockerd")
    if running is not None:
        say(f"engine: dockerd (pid {running}) runs; waiting for its answer")
        return _await_answer(None)
    cgroups.ensure()
    _choose_iptables()
    _remove_leftovers()
    _await_answer(_spawn())


def stop() -> None:
    """Stop the engine set-up started; its containers go on (live-restore)."""
    pid = owner(OURS, "dockerd")
    if pid is None:
        raise SetupFailed("no engine started by set-up runs here; another one is its owner's to stop")
    _end(pid)
    OURS.unlink(missing_ok=True)
    say("engine: stopped")


def _configure() -> None:
    before = CONFIGURATION.read_text() if CONFIGURATION.is_file() else ""
    try:
        after = with_live_restore(before)
    except ValueError as problem:
        raise SetupFailed(f"{CONFIGURATION} is not valid ({problem}): correct it or remove it") from problem
    if before.strip() and json.loads(before) == json.loads(after):
        return
    CONFIGURATION.parent.mkdir(parents=True, exist_ok=True)
    draft = CONFIGURATION.with_suffix(".new")
    draft.write_text(after)
    draft.replace(CONFIGURATION)


def _choose_iptables() -> None:
    """Some kernels carry only one of the two tables iptables can speak to; Debian prefers the newer one."""
    if ask(["iptables", "--wait", "-t", "nat", "-L", "-n"])[0] == 0:
        return
    if ask(["iptables-legacy", "--wait", "-t", "nat", "-L", "-n"])[0] != 0:
        raise SetupFailed(
            "this kernel gives us no NAT table (`iptables -t nat -L` fails, so does iptables-legacy): "
            "containers could not be reached; load iptable_nat or run set-up where NET_ADMIN is allowed"
        )
    run(["update-alternatives", "--set", "iptables", "/usr/sbin/iptables-legacy"])


def _remove_leftovers() -> None:
    leftover = owner(CONTAINERD_PID_FILE, "containerd")
    if leftover is not None:
        # A new dockerd waits for it in vain. Containers do not need it: their shims go on, and are found again.
        say(f"engine: ending the containerd of a former daemon (pid {leftover})")
        _end(leftover, signal.SIGKILL)
    for pid_file, program in ((PID_FILE, "dockerd"), (CONTAINERD_PID_FILE, "containerd")):
        if pid_file.exists() and owner(pid_file, program) is None:
            say(f"engine: removing the stale {pid_file}")
            pid_file.unlink(missing_ok=True)
    # dockerd takes this socket's existence for a running containerd of the system, and waits for it in vain.
    if SYSTEM_CONTAINERD_SOCKET.exists() and not listens(SYSTEM_CONTAINERD_SOCKET):
        say(f"engine: removing {SYSTEM_CONTAINERD_SOCKET}, on which nobody listens")
        SYSTEM_CONTAINERD_SOCKET.unlink(missing_ok=True)


def _spawn() -> subprocess.Popen[bytes]:
    say(f"engine: starting dockerd, which writes to {LOG}")
    with LOG.open("ab") as log:
        log.write(f"--- started by set-up at {time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n".encode())
        log.flush()
        process = subprocess.Popen(
            ["dockerd"],
            cwd="/",
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    OURS.write_text(str(process.pid))
    return process


def _await_answer(process: subprocess.Popen[bytes] | None) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        version = answers()
        if version is not None:
            return say(f"engine: Docker {version} answers")
        if process is not None and process.poll() is not None:
            raise SetupFailed(f"dockerd ended with exit code {process.returncode}:\n{_log_end()}")
        time.sleep(0.3)
    if process is not None:
        _end(process.pid)
    raise SetupFailed(f"the engine did not answer within {PATIENCE:g} s:\n{_log_end()}")


def _end(pid: int, first: signal.Signals = signal.SIGTERM) -> None:
    """Signal a process and return when it is gone; KILL after 20 s."""
    os.kill(pid, first)
    for _ in range(100):
        if _is_gone(pid):
            return
        time.sleep(0.2)
    os.kill(pid, signal.SIGKILL)


def _is_gone(pid: int) -> bool:
    state = process_state(pid)
    return state is None or state[1] == "Z"


def _log_end() -> str:
    if not LOG.is_file():
        return f"(nothing in {LOG}; with systemd: `journalctl -u docker`)"
    lines = LOG.read_text(errors="replace").splitlines()[-15:]
    return "\n".join(f"  {line}" for line in lines)
