"""What is written down of a release beside its source, all of which can be made again from it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast


def write_kept(path: Path, content: Mapping[str, Any]) -> None:
    """All at once: whoever reads it sees the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    working = path.with_suffix(".new")
    working.write_text(json.dumps(content, indent=1))
    working.replace(path)


def read_kept(path: Path) -> dict[str, Any] | None:
    """A mapping; None where there is no such file, or one that holds anything else."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return cast("dict[str, Any]", content) if isinstance(content, dict) and content else None
