"""A Docker Engine of a test's own, which may be stopped, killed and started again: nobody else's containers are on it.

It has a bridge of its own and touches no rule of the host's firewall, so it disturbs no other engine: one that is told
to have no bridge, or pools of addresses, deletes `docker0`, which is another's. What runs on it reaches nothing beyond
this host.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
import docker.errors

from libs.contracts.names import random_word
from tests.support.platform_waiting import until

# Apart from the networks of the engine that all other tests share, and from those that tools get.
GATEWAY = "10.223.0.1/24"
PATIENCE = 60.0


class OwnEngine:
    """Started inside the block; `address` is what DOCKER_HOST is to be. `images` are copied from the shared engine."""

    def __init__(self, *images: str) -> None:
        self._images = images
        # The path of a socket may not be long.
        self._folder = Path(tempfile.mkdtemp(prefix="engine-"))
        self._bridge = f"eng-{random_word(8)}"
        self._others = frozenset[str]()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"unix://{self._folder}/socket"

    async def start(self) -> None:
        """Returns when it answers."""
        self._launch()
        await until(lambda: asyncio.to_thread(self._answers), "the test's own engine answers", PATIENCE)

    def _launch(self) -> None:
        (self._folder / "pid").unlink(missing_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._argv(), stdout=log, stderr=log, start_new_session=True)

    async def terminate(self) -> None:
        """As when a host goes down in order: the engine ends its containers, then itself."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            await asyncio.to_thread(self._process.wait, PATIENCE)
            self._process = None

    def _argv(self) -> list[str]:
        (self._folder / "daemon.json").write_text("{}")
        places = {"config-file": "daemon.json", "data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        return [
            "dockerd",
            *(f"--{option}={self._folder / name}" for option, name in places.items()),
            f"--host={self.address}",
            f"--bridge={self._bridge}",
            *(f"--{option}=false" for option in ("iptables", "ip6tables", "ip-forward")),
        ]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()[-3000:]
        try:
            self._sdk().version()
        except docker.errors.DockerException:
            return False
        return True

    def _sdk(self) -> docker.APIClient:
        return docker.APIClient(base_url=self.address, timeout=60)

    def _copy(self) -> None:
        shared, own = docker.APIClient(base_url=os.environ.get("DOCKER_HOST"), timeout=60), self._sdk()
        for image in self._images:
            own.load_image(b"".join(shared.get_image(image)))
            assert json.dumps(own.inspect_image(image)["RepoTags"])

    def _make_bridge(self) -> None:
        _ip("link", "add", "name", self._bridge, "type", "bridge")
        _ip("address", "add", GATEWAY, "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    async def __aenter__(self) -> Self:
        self._others = _bridges()
        self._make_bridge()
        await self.start()
        await asyncio.to_thread(self._copy)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """In order, so that no mount and no process of it stays; one that was killed is started once more for that."""
        if self._process is None:
            await self.start()
        await self.terminate()
        for mount in reversed(_mounts_below(self._folder)):
            subprocess.run(["umount", "--lazy", mount], check=True)  # noqa: ASYNC221
        _ip("link", "delete", self._bridge)
        shutil.rmtree(self._folder)
        assert not self._others - _bridges(), f"a bridge of another engine is gone: {self._others - _bridges()}"


def _bridges() -> frozenset[str]:
    """The default ones of engines: those of networks come and go."""
    return frozenset(path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith("docker"))


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _mounts_below(folder: Path) -> list[str]:
    """An engine leaves its own folder mounted on itself."""
    mounts = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [mount for mount in mounts if Path(mount).is_relative_to(folder)]
