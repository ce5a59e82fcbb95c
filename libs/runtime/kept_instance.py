"""The id of this MACHETE, kept in the data folder too: it stands on every container, and outlives the streams so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import cast

from libs.runtime import private_files

NAME = "instance"
# Where the orchestrator keeps what it knows of each tool; it says there whose the tool is.
TOOLS = "tools/*/releases/kept.json"
_ID = re.compile(r"[a-z2-7]{8}")


def keep(data: Path, instance: str) -> None:
    """In this folder; nothing is done if it is there."""
    if _read(data / NAME) != instance:
        private_files.write(data / NAME, f"{instance}\n")


def remembered(data: Path) -> str | None:
    """None where there is none. Raises `OSError` for a file that may not be read: another id would be wrong."""
    return _read(data / NAME) or next((found for file in sorted(data.glob(TOOLS)) if (found := _of_tool(file))), None)


def _read(file: Path) -> str | None:
    return _checked(file.read_text(errors="replace").strip()) if file.exists() else None


def _of_tool(file: Path) -> str | None:
    try:
        content = json.loads(file.read_bytes())
    except ValueError:
        return None  # broken; whoever adopts tools names it
    return _checked(cast("dict[str, object]", content).get("instance")) if isinstance(content, dict) else None


def _checked(text: object) -> str | None:
    return text if isinstance(text, str) and _ID.fullmatch(text) else None
