"""A real Prometheus that reads what it is told to, set up by the configuration that is shipped."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from libs.runtime import loopback
from libs.runtime.embedded import LAUNCHER
from tests.support.platform_waiting import until

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"
EVERY = "500ms"
# Below those that tools and clients get, beside those of platforms under test.
PORTS = range(19_100, 19_900)
Sample = dict[str, Any]


class Prometheus:
    def __init__(self, url: str) -> None:
        self.client = httpx.AsyncClient(base_url=url, timeout=10)

    async def query(self, promql: str) -> list[Sample]:
        """The samples of an instant query: `metric` has the labels, `value` time and number."""
        return (await self._ask("/api/v1/query", {"query": promql}))["result"]

    async def value(self, promql: str) -> float | None:
        """The one number that a query comes to; None if nothing."""
        found = await self.query(promql)
        assert len(found) <= 1, f"{promql}: {found}"
        return float(found[0]["value"][1]) if found else None

    async def label_values(self, label: str, metric: str) -> list[str]:
        return await self._ask(f"/api/v1/label/{label}/values", {"match[]": metric})

    async def rules(self) -> list[dict[str, Any]]:
        groups = (await self._ask("/api/v1/rules", {}))["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def targets(self) -> list[dict[str, Any]]:
        return (await self._ask("/api/v1/targets", {}))["activeTargets"]

    async def _ask(self, path: str, query: dict[str, str]) -> Any:
        answer = await self.client.get(path, params=query)
        body = answer.json()
        assert answer.status_code == 200, f"{query}: {body}"
        return body["data"]

    async def is_ready(self) -> bool:
        try:
            return (await self.client.get("/-/ready")).status_code == 200
        except httpx.TransportError:
            return False


def shipped_for(targets: Sequence[str], token: Path) -> dict[str, Any]:
    """The shipped configuration with these targets and this token, read twice a second."""
    config: dict[str, Any] = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": EVERY, "evaluation_interval": EVERY, "scrape_timeout": EVERY}
    config["rule_files"] = [str(SHIPPED / name) for name in config["rule_files"]]
    (job,) = config["scrape_configs"]
    job["authorization"]["credentials_file"] = str(token)
    job["static_configs"] = [{"targets": list(targets)}]
    return config


@asynccontextmanager
async def running_prometheus(folder: Path, targets: Sequence[str], token: Path) -> AsyncGenerator[Prometheus]:
    """Reads these `host:port`; all it keeps is in `folder`."""
    process, port = _launch(folder, shipped_for(targets, token))
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    try:
        await until(prometheus.is_ready, f"Prometheus is ready; its log is {folder / 'prometheus.log'}")
        yield prometheus
    finally:
        await prometheus.client.aclose()
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 10)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait, 10)


def _launch(folder: Path, configuration: dict[str, Any]) -> tuple[subprocess.Popen[bytes], int]:
    """The process, which dies with the test, and its port."""
    folder.mkdir(parents=True)
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(configuration))
    program = shutil.which("prometheus")
    assert program is not None, "there is no prometheus: `make setup` brings it"
    port = next(port for port in random.sample(PORTS, len(PORTS)) if loopback.is_free(port))
    argv = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid())]
    with (folder / "prometheus.log").open("wb") as log:
        return subprocess.Popen([*launcher, *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log), port
