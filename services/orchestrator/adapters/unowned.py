"""Keeps in mind which files were made for a tool and are not yet its user's, in case whoever made them is cut off.

Whose they are to be shows only when there is a container, which comes after them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from services.orchestrator.adapters.kept import read_kept, write_kept


@dataclass(frozen=True)
class Unowned:
    """`file` is there only while there is something to keep in mind. Paths are relative to the tool's data folder."""

    file: Path

    def noted(self) -> set[str]:
        return set((read_kept(self.file) or {}).get("paths", ()))

    def note(self, paths: Collection[str]) -> set[str]:
        """To be called before they are made. All that are noted now."""
        before = self.noted()
        if set(paths) - before:
            write_kept(self.file, {"paths": sorted(before.union(paths))})
        return before.union(paths)

    def forget(self) -> None:
        """They are their user's now."""
        self.file.unlink(missing_ok=True)
