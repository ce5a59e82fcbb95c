"""The installer's own settings."""

from pydantic import Field

from libs.runtime.settings import CommaList, Seconds
from libs.runtime.settings import Settings as PlatformSettings


class Settings(PlatformSettings):
    """What may be fetched from where, and how much of it."""

    git_protocols: CommaList = Field(
        ("https", "ssh"), description="The protocols Git may use; `http` and `file` are for development."
    )
    fetch_timeout: Seconds = Field(600.0, description="A fetch that took this long is ended.")
    fetch_limit: int = Field(1024**3, gt=0, description="The most bytes that one fetch may bring.")
