"""What a measurement comes to: medians, ratios, and whether an aim is met. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Sample:
    """The same thing measured several times; never empty."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a sample has at least one value")

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        return cls(tuple(values))

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    @property
    def n(self) -> int:
        return len(self.values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all are not above (nearest rank)."""
    if not values or not 0 < percent <= 100:
        raise ValueError("a percentile needs values, and more than 0 % and at most 100 % of them")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


@dataclass(frozen=True)
class Aim:
    """A limit for the ratio of ours to theirs, or for our own value in the row's unit."""

    limit: float
    bound: Literal["at most", "at least"] = "at most"
    on: Literal["ratio", "value"] = "ratio"

    def met(self, figure: float) -> bool:
        return figure <= self.limit if self.bound == "at most" else figure >= self.limit

    def missed_by(self, figure: float) -> float:
        """In parts of the limit; 0 where it is met."""
        return 0.0 if self.met(figure) else abs(figure / self.limit - 1)


@dataclass(frozen=True)
class Row:
    """`against` says what theirs is. `details` are figures beside the point, for the JSON alone."""

    name: str
    unit: str
    ours: Sample
    theirs: Sample | None = None
    aim: Aim | None = None
    against: str = ""
    details: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def ratio(self) -> float | None:
        return None if self.theirs is None or not self.theirs.median else self.ours.median / self.theirs.median

    @property
    def judged(self) -> float | None:
        """The figure that the aim is about; None without an aim."""
        if self.aim is None:
            return None
        if self.aim.on == "value":
            return self.ours.median
        if self.ratio is None:
            raise ValueError(f"{self.name}: an aim for a ratio needs something to compare with")
        return self.ratio

    @property
    def met(self) -> bool | None:
        return None if self.aim is None or self.judged is None else self.aim.met(self.judged)

    @property
    def missed_by(self) -> float | None:
        return None if self.aim is None or self.judged is None else self.aim.missed_by(self.judged)
