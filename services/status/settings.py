"""The status service's own settings."""

from pathlib import Path

from libs.runtime.settings import Settings as PlatformSettings


class Settings(PlatformSettings):
    """The database is a file in the data folder: it can be lost, the stream fills it again."""

    @property
    def database(self) -> Path:
        return self.data / "status" / "status.db"
