"""How often what changes by itself is said of a tool: EVENTS keep so much for all tools together."""

from dataclasses import dataclass, field

AT_ONCE = 20
# Of a tool with many containers, as many as its start makes: made, started, and healthy in the end.
FOR_EACH = 4
EVERY = 10.0  # seconds


@dataclass
class Allowance:
    """So many things at once of each tool that was calm, then one each `EVERY` seconds. Times are in seconds."""

    _calm_at: dict[str, float] = field(default_factory=dict[str, float])

    def pause(self, tool: str, containers: int, now: float) -> float:
        """0: something may be said of it now, and that counts. Otherwise how long until then."""
        calm_at = max(self._calm_at.get(tool, now), now)
        most = max(AT_ONCE, FOR_EACH * containers)
        if (pause := calm_at - now - (most - 1) * EVERY) > 0:
            return pause
        self._calm_at[tool] = calm_at + EVERY
        return 0.0

    def forget(self, tool: str) -> None:
        self._calm_at.pop(tool, None)
