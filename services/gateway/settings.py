"""The gateway's own settings."""

from pydantic import Field

from libs.runtime.settings import CommaList, Seconds
from libs.runtime.settings import Settings as PlatformSettings


class Settings(PlatformSettings):
    """What is let in, and how long it may take."""

    git_protocols: CommaList = Field(
        ("https", "ssh"), description="The protocols Git may use; `http` and `file` are for development."
    )
    accept_patience: Seconds = Field(
        8.0, description="A request that NATS has not acknowledged after this long is answered with 503."
    )
