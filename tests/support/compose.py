"""Docker Compose itself, asked what it makes of files: with no environment, as a stack's are read."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.orchestrator.adapters.plugins import find_plugin


class ComposeRefused(Exception):
    """Compose ended badly; the text is what it said."""


def write_files(root: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def compose_config(root: Path, file: str = "compose.yaml", folder: str = ".") -> dict[str, Any]:
    """The merged and interpolated configuration; paths are resolved against `folder` of the root."""
    argv = [*find_plugin("compose"), "--project-directory", str(root / folder), "-f", str(root / file)]
    argv += ["--profile", "*", "config", "--format", "json"]
    done = subprocess.run(argv, env={}, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ComposeRefused(done.stderr)
    return json.loads(done.stdout)
