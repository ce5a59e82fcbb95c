"""What is written down of a release beside its source, all of which can be made again from it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

_PAIR = re.compile(r"\\\\|\\u(d[89ab]..)\\u(d[c-f]..)")


def as_yaml(content: Mapping[str, Any]) -> str:
    """JSON that is YAML too, which Compose reads: it takes no halves of characters, and no raw control characters."""
    return _PAIR.sub(_whole, json.dumps(content, indent=1)).replace("\x7f", "\\u007f")


def _whole(found: re.Match[str]) -> str:
    return json.loads(f'"{found[0]}"') if found[1] else found[0]


def write_kept(path: Path, content: Mapping[str, Any]) -> None:
    """All at once: whoever reads it sees the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    working = path.with_suffix(".new")
    working.write_text(as_yaml(content), encoding="utf-8")
    working.replace(path)


def read_kept(path: Path) -> dict[str, Any] | None:
    """A mapping; None where there is no such file, or one that holds anything else."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return cast("dict[str, Any]", content) if isinstance(content, dict) and content else None
