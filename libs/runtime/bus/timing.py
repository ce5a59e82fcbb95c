"""The times that ownership rests on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

DEADLINES: Mapping[str, float] = MappingProxyType(
    {"install": 3600.0, "build": 3600.0, "start": 600.0, "stop": 300.0, "restart": 900.0, "uninstall": 600.0}
)


@dataclass(frozen=True)
class Timing:
    """Seconds. heartbeat < watchdog_bound < ack_wait: a silent owner's children are gone before the next one begins."""

    ack_wait: float = 10.0
    heartbeat: float = 2.5
    watchdog_bound: float = 6.0
    poll: float = 1.0
    retry: float = 1.0
    deadlines: Mapping[str, float] = field(default_factory=lambda: DEADLINES)
    max_attempts: int = 5
    max_running: int = 16

    @property
    def doubt(self) -> float:
        """Silence after which a child may have been ended.

        Its watchdog begins with that up to a quarter before the bound, and what it knows of us is up to half a
        heartbeat old.
        """
        return max(0.75 * self.watchdog_bound - self.heartbeat / 2, 1.25 * self.heartbeat)

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat < self.watchdog_bound < self.ack_wait:
            raise ValueError(
                f"heartbeat {self.heartbeat:g} s < watchdog bound {self.watchdog_bound:g} s < ack wait "
                f"{self.ack_wait:g} s must hold: otherwise a command has two owners at once"
            )
