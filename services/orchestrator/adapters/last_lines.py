"""The last lines of a container, as they are shown to whoever asks why it failed."""

from services.orchestrator.adapters.feed import DockerFeed
from services.orchestrator.adapters.inspection import inspect_container
from services.orchestrator.domain.last_run import of_last_run

MOST = 20
LOOKED_AT = 100  # as many of them may be of a run that has only begun


async def last_lines(feed: DockerFeed, container: str, *, ended: bool) -> list[str]:
    """Of one run alone, however often the engine has started it since: with `ended` of one that is over."""
    lines = await feed.tail_logs(container, LOOKED_AT)
    if not lines:
        return []
    going = ended and await _is_up(feed, container)
    ends = [time for time, _ in await feed.ends(container, lines[0].time)]
    return [line.text for line in of_last_run(lines, ends, but_for_present=going)][-MOST:]


async def _is_up(feed: DockerFeed, container: str) -> bool:
    inspected = await inspect_container(feed.engine, container)
    return inspected is not None and inspected["State"]["Status"] in ("running", "paused")
