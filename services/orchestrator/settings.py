"""The orchestrator's own settings."""

from pydantic import Field

from libs.runtime.settings import Pairs, Seconds
from libs.runtime.settings import Settings as PlatformSettings


class Settings(PlatformSettings):
    """The engine itself is found as Docker's own client finds it: `DOCKER_HOST` and its companions."""

    build_args: Pairs = Field(
        {}, description="Build arguments given to every build, such as `BASE_IMAGE=registry.example/python:3.12`."
    )
    build_slots: int | None = Field(
        None,
        ge=1,
        description="So many builds run at once, over all orchestrators on this data folder; others wait. Without it: "
        "half of the cores of the engine's host, at least 2, but no more than it has GiB of memory.",
    )
    stop_timeout: Seconds = Field(10.0, description="A container that has not ended so long after SIGTERM is killed.")
    network_pool: str = Field(
        "10.213.0.0/16", description="Where tools' networks get their addresses once the engine has none left."
    )
