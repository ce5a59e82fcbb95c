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
    look_interval: Seconds = Field(
        60.0, description="All tools are looked at this often, for what the engine did not tell of as it happened."
    )
    repair_backoff: Seconds = Field(
        10.0,
        description="A tool that should run and does not is started again at once; this long after that a second time, "
        "and then after twice as long each time.",
    )
    repair_backoff_max: Seconds = Field(1800.0, description="The longest pause between two such starts.")
    repair_settled: Seconds = Field(
        600.0, description="A tool that ran so long after such a start begins anew with the pauses."
    )
    network_pool: str = Field(
        "10.213.0.0/16", description="Where tools' networks get their addresses once the engine has none left."
    )
