"""The installer's own settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from libs.runtime.settings import CommaList, Seconds
from libs.runtime.settings import Settings as PlatformSettings
from services.installer.domain import git_tokens

SSH = "ssh"


def _tokens(text: object) -> object:
    """SERVER=TOKEN pairs by origin. No message holds a value."""
    if not isinstance(text, str):
        return text
    logins: dict[str, SecretStr] = {}
    for number, part in enumerate((part.strip() for part in text.split(",") if part.strip()), start=1):
        server, equals, login = part.partition("=")
        if not equals:
            raise ValueError(f"must be pairs SERVER=TOKEN, separated by commas; the one at place {number} is none")
        try:
            origin = git_tokens.check_server(server.strip())
            checked = git_tokens.check_login(login.strip())
        except ValueError as error:
            raise ValueError(f"the pair at place {number} cannot be read: {error}") from None
        if origin in logins:
            raise ValueError(f"there are two tokens for {origin}; keep one")
        logins[origin] = SecretStr(checked)
    return logins


Tokens = Annotated[dict[str, SecretStr], BeforeValidator(_tokens)]
File = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class Settings(PlatformSettings):
    """What may be fetched from where, with which credentials, and how much of it."""

    git_protocols: CommaList = Field(
        ("https", "ssh"), description="The protocols Git may use; `http` and `file` are for development."
    )
    git_tokens: Tokens = Field(
        default_factory=dict[str, SecretStr],
        description="Tokens for private repositories: `git.example.org=TOKEN` or `git.example.org:8443=USER:TOKEN`, "
        "each sent to that server alone, over https.",
        json_schema_extra={"shown": ""},
    )
    ssh_key: File | None = Field(
        None, description="The private key that Git uses over ssh; `<data>/ssh/id_ed25519` without it."
    )
    ssh_known_hosts: File | None = Field(
        None, description="The keys of the hosts that ssh trusts; `<data>/ssh/known_hosts` without it."
    )
    fetch_timeout: Seconds = Field(600.0, description="A fetch that took this long is ended.")
    fetch_limit: int = Field(1024**3, gt=0, description="The most bytes that one fetch may bring.")

    @model_validator(mode="after")
    def _sends_tokens_unencrypted_only_where_http_is_allowed(self) -> Self:
        unencrypted = [origin for origin in self.git_tokens if origin.startswith("http://")]
        if unencrypted and "http" not in self.git_protocols:
            raise ValueError(
                f"MACHETE_GIT_TOKENS has a token for {unencrypted[0]}, and MACHETE_GIT_PROTOCOLS does not allow http:"
                " write the server without http://"
            )
        return self

    @property
    def key_file(self) -> Path:
        return self.ssh_key or self.data / SSH / "id_ed25519"

    @property
    def known_hosts_file(self) -> Path:
        return self.ssh_known_hosts or self.data / SSH / "known_hosts"

    def make_ssh_folder(self) -> None:
        """So that what a refused fetch says to do can be done as it stands there."""
        (self.data / SSH).mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def git_logins(self) -> Mapping[str, str]:
        """USER:TOKEN by the origin of the server that it is for."""
        return {origin: login.get_secret_value() for origin, login in self.git_tokens.items()}
