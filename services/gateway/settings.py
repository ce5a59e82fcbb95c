"""The gateway's own settings."""

from pydantic import Field, SecretStr, field_validator

from libs.contracts.streams import WAITING_IN_ALL, WAITING_PER_TOOL
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
    waiting_per_tool: int = Field(
        100,
        ge=1,
        le=WAITING_PER_TOOL,
        description="So many commands may wait for one tool, what is worked on included; the next is answered with 429."
        " A stop or uninstall with `now` is let in all the same.",
    )
    waiting_per_principal: int = Field(
        1000, ge=1, le=WAITING_IN_ALL, description="So many commands of one user or agent may wait; the next: 429."
    )
    waiting_in_all: int = Field(
        2000, ge=1, le=WAITING_IN_ALL, description="So many commands may wait in all; the next is answered with 429."
    )
    gateway_database: SecretStr | None = Field(
        None,
        description="Where accounts are kept: `postgresql+psycopg://user:password@host/database`. Without one, a file "
        "of SQLite in the data folder.",
    )
    agents_key: SecretStr | None = Field(
        None,
        description="The seed (SA…) with which the gateway signs which agents may connect to NATS. Without one, "
        "`<data>/nats/issuer.json` is read; where that is missing too, no agent connects.",
    )
    agents_nats_url: str | None = Field(
        None, description="The address of NATS that new agents are told, when it is not `MACHETE_NATS_URL`."
    )
    answers_password: SecretStr | None = Field(
        None,
        description="The password of the NATS user `answers`. Without one, `<data>/nats/credentials.json` is read.",
    )
    warden_password: SecretStr | None = Field(
        None,
        description="The password of the NATS user `warden`. Without one, `<data>/nats/credentials.json` is read.",
    )

    @field_validator("gateway_database")
    @classmethod
    def _is_a_database_we_know(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("postgresql+psycopg://", "sqlite:///")):
            raise ValueError("must be postgresql+psycopg://user:password@host/database")
        return value
