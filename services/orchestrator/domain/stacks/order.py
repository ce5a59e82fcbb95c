"""In which order a stack is stopped: whoever needs another one before it."""

from collections.abc import Mapping, Sequence


def dependencies(label: str) -> frozenset[str]:
    """From Compose's label `com.docker.compose.depends_on`: `db:service_healthy:true,cache:…`."""
    return frozenset(entry.partition(":")[0] for entry in label.split(",") if entry)


def waves(needs: Mapping[str, frozenset[str]]) -> Sequence[frozenset[str]]:
    """`needs` gives each service those it depends on. Each wave is stopped at once, after the one before it.

    A circle, which Compose would not have started, is stopped at once.
    """
    left = dict(needs)
    found: list[frozenset[str]] = []
    while left:
        needed = {other for others in left.values() for other in others}
        wave = frozenset(name for name in left if name not in needed) or frozenset(left)
        found.append(wave)
        left = {name: others for name, others in left.items() if name not in wave}
    return found
