"""What each tool holds of LOGS, in bytes, as far as its chunks and the size of some tell.

What all hold together is known, so what was looked at is scaled to that: how they stand to each other has to be right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from libs.contracts.logs import CHUNK_BYTES
from libs.runtime.fair_shares import Holding, level

# Bytes: no chunk is larger, though a single line may take six times its length on the wire.
LARGEST = 2 * CHUNK_BYTES

Sources = Mapping[str, int]
"""The subjects of one tool, each with how many chunks there are under it."""


@dataclass
class Estimate:
    """Of a stream that holds `size` bytes, where there is to be `room` for as many."""

    tools: Mapping[str, Sources]
    size: float
    room: float
    _looked_at: dict[str, float] = field(default_factory=dict[str, float])
    _sources: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])

    def possibly_large(self, most: int) -> list[str]:
        """So many of those that may have to give something up: whatever the rest has, none gets less than this."""
        counts = {tool: sum(sources.values()) for tool, sources in self.tools.items()}
        found = [tool for tool, chunks in counts.items() if chunks * LARGEST > self._equal_share]
        return sorted(found, key=lambda tool: counts[tool], reverse=True)[:most]

    def largest_sources(self, tool: str, most: int) -> list[str]:
        sources = self.tools[tool]
        return sorted(sources, key=lambda subject: sources[subject], reverse=True)[: max(1, most)]

    def of_tool(self, tool: str, mean: float) -> None:
        """Its chunks are usually this large."""
        self._looked_at[tool] = mean * sum(self.tools[tool].values())

    def of_sources(self, tool: str, means: Mapping[str, float]) -> None:
        """So are those of some of its sources; better than what was known of the tool as a whole."""
        sources = self.tools[tool]
        usual = self._looked_at[tool] / max(1, sum(sources.values()))
        self._sources[tool] = {subject: means.get(subject, usual) * chunks for subject, chunks in sources.items()}
        self._looked_at[tool] = sum(self._sources[tool].values())

    def above(self) -> tuple[float, dict[str, float]]:
        """The most that each may have, and what those have that have more."""
        usual = self.size / max(1, sum(sum(sources.values()) for sources in self.tools.values()))
        rest = [
            min(usual * sum(sources.values()), self._equal_share)
            for tool, sources in self.tools.items()
            if tool not in self._looked_at
        ]
        sizes = _scaled(self._looked_at, self.size - sum(rest))
        most = level([*sizes.values(), *rest], self.room)
        return most, {tool: size for tool, size in sizes.items() if size > most}

    def holdings(self, tool: str, size: float) -> Sequence[Holding]:
        """Of a tool that has `size` bytes."""
        sources = self.tools[tool]
        sizes = _scaled(self._sources.get(tool, {subject: float(chunks) for subject, chunks in sources.items()}), size)
        return [Holding(subject, chunks, sizes[subject]) for subject, chunks in sources.items()]

    @property
    def _equal_share(self) -> float:
        return self.room / max(1, len(self.tools))


def _scaled(sizes: Mapping[str, float], together: float) -> dict[str, float]:
    """The same among each other, and as much together."""
    factor = together / (sum(sizes.values()) or 1.0)
    return {name: size * factor for name, size in sizes.items()}
