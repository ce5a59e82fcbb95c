"""On what a measurement was taken: one line that belongs beside every figure."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from bench import engine
from libs.runtime import nats_binary


def described() -> dict[str, str]:
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cores": str(os.cpu_count()),
        "processor": model[1] if model else platform.machine(),
        "memory": f"{int(memory[1]) / 1e6:.0f} GB" if memory else "unknown",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "engine": engine.docker("version", "--format", "{{.Server.Version}}"),
        "nats": nats_binary.find().version,
        "python": platform.python_version(),
        "load before": load(),
    }


def load() -> str:
    """How many processes want to run, over the last minute: before the measuring began, those of others."""
    return f"{os.getloadavg()[0]:.2f}"


def line(machine: dict[str, str]) -> str:
    return (
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory']}, {machine['system']}, "
        f"Docker Engine {machine['engine']}, NATS {machine['nats']}, Python {machine['python']}, "
        f"load before {machine['load before']}"
    )
