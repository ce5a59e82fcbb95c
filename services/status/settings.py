"""The status service's own settings."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from libs.runtime.settings import Settings as PlatformSettings

DRIVER = "postgresql+psycopg"


class Settings(PlatformSettings):
    """The database can be lost, wherever it is: the stream fills it again."""

    status_database: SecretStr | None = Field(
        None,
        description="The PostgreSQL database that this service's replicas share, as"
        f" `{DRIVER}://user:password@host:port/name`. Without one, a SQLite file in the data folder.",
    )

    streams_per_principal: int = Field(
        2000,
        ge=1,
        description="So many live connections and logs may one user or agent have open at a time, with each replica;"
        " the next is answered with 429.",
    )

    @field_validator("status_database")
    @classmethod
    def _names_a_postgresql_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _url(value)
        return value

    @property
    def database(self) -> Path:
        return self.data / "status" / "status.db"

    @property
    def database_url(self) -> URL | None:
        return _url(self.status_database) if self.status_database is not None else None


def _url(value: SecretStr) -> URL:
    wrong = ValueError(f"must be {DRIVER}://user:password@host:port/name; %xx for special characters in the password")
    try:
        url = make_url(value.get_secret_value())
    except (ArgumentError, ValueError):
        raise wrong from None
    if url.drivername != DRIVER or not url.host or not url.database:
        raise wrong
    return url
