"""Settings: the environment over one file, `<data>/machete.env`; the same names in both.

Each service has a `settings.py` with a `Settings` that adds its own to these. An unknown name is an
error and not a silent default, so `MACHETE_PROT=9000` is told apart from `MACHETE_PORT`.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from libs.runtime.masking import inert, masked
from libs.runtime.variables import (
    PREFIX,
    SettingsError,
    default_data,
    read_environment,
    read_file,
    refuse_unknown,
    variable,
)

Kind = Literal["install", "build", "start", "stop", "restart", "uninstall"]

FILE_NAME = "machete.env"
CREDENTIALS = Path("nats", "credentials.json")


def _items(text: object) -> object:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text


def _pairs(text: object) -> object:
    if not isinstance(text, str):
        return text
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    if any(not (name and equals) for name, equals, _ in pairs):
        raise ValueError("must be pairs NAME=value, separated by commas")
    return {name: value for name, _, value in pairs}


_LIMITS = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}

CommaList = Annotated[tuple[str, ...], BeforeValidator(_items)]
"""`a,b,c` in the environment, a tuple in the program."""

Pairs = Annotated[dict[str, str], BeforeValidator(_pairs)]
"""`A=1,B=2` in the environment, a mapping in the program."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What every service needs alike. Times are seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data: Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())] = Field(
        default_factory=default_data,
        description="The folder everything is kept in, `machete.env` included; made if it is missing.",
        json_schema_extra={"shown": "~/.local/share/machete"},
    )
    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="The port to listen on; 0 takes any free one.")
    public_url: str | None = Field(
        None, description="The address people reach this platform at, when it is not the one listened on."
    )
    trusted_proxies: CommaList = Field(
        (), description="Proxies (addresses or networks) whose `X-Forwarded-*` headers are believed."
    )
    nats_url: str = Field(
        "nats://127.0.0.1:4222", description="The NATS servers, separated by commas; without credentials."
    )
    nats_user: str | None = Field(
        None, description="This service's NATS user. Without one, `<data>/nats/credentials.json` is read."
    )
    nats_password: SecretStr | None = Field(None, description="The password of that user.")
    ack_wait: Seconds = Field(
        10.0, description="After this long without a word from its worker a command goes to another."
    )
    heartbeat: Seconds = Field(2.5, description="How often a worker says that it is still at it.")
    watchdog_bound: Seconds = Field(
        6.0, description="A worker's child processes are ended this long after its last heartbeat."
    )
    install_deadline: Seconds = Field(1800.0, description="An install fails when it took this long.")
    build_deadline: Seconds = Field(1800.0, description="A build fails when it took this long.")
    start_deadline: Seconds = Field(600.0, description="A start fails when it took this long.")
    stop_deadline: Seconds = Field(120.0, description="A stop fails when it took this long.")
    restart_deadline: Seconds = Field(600.0, description="A restart fails when it took this long.")
    uninstall_deadline: Seconds = Field(300.0, description="An uninstall fails when it took this long.")
    stop_grace: Seconds = Field(
        8.0,
        description="From the signal to stop until what has not ended is cut off; requests get half of it.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")
    log_format: Literal["json", "console"] = Field("json", description="`json` for machines, `console` for people.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Variables(settings_cls, init_settings().get("data"))

    @classmethod
    def load(cls, known: Iterable[type["Settings"]] = (), **given: Any) -> Self:
        """These settings; what is given wins over environment and file.

        `known` are the other services' settings: one environment and one file serve all of them, so their
        names are no mistake here. Raises `SettingsError`, which names each wrong setting and what is allowed.
        """
        names = {variable(name) for each in (cls, *known) for name in each.model_fields}
        refuse_unknown(names, _file(given.get("data")))
        try:
            return cls(**given)
        except ValidationError as error:
            wrong = [_explained(cls, cast(Any, detail)) for detail in error.errors()]
            raise SettingsError("\n".join(wrong)) from None

    @field_validator("nats_url")
    @classmethod
    def _names_servers_alone(cls, value: str) -> str:
        for address in value.split(","):
            parts = urlsplit(address.strip())
            if parts.scheme not in ("nats", "tls") or not parts.hostname:
                raise ValueError("must be nats://host:port or tls://host:port, several separated by commas")
            if parts.username or parts.password:
                raise ValueError("must carry no credentials: they go in MACHETE_NATS_USER and MACHETE_NATS_PASSWORD")
        return value

    @model_validator(mode="after")
    def _ends_children_in_time(self) -> Self:
        if not self.heartbeat < self.watchdog_bound < self.ack_wait:
            raise ValueError(
                f"MACHETE_HEARTBEAT ({self.heartbeat:g}) must be below MACHETE_WATCHDOG_BOUND"
                f" ({self.watchdog_bound:g}), and that below MACHETE_ACK_WAIT ({self.ack_wait:g}):"
                " the children of a worker that fell silent must be gone before another one takes over"
            )
        if (self.nats_user is None) != (self.nats_password is None):
            raise ValueError("MACHETE_NATS_USER and MACHETE_NATS_PASSWORD go together: set both or neither")
        return self

    @property
    def url(self) -> str:
        """Where people reach this platform, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")

    def make_data_folder(self) -> None:
        """For this user alone, since keys and tokens will lie in it. Raises `SettingsError` where it cannot be."""
        try:
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"MACHETE_DATA: the folder {self.data} cannot be made ({error.strerror}); name one that can"
            ) from error

    def deadline(self, kind: Kind) -> float:
        """How many seconds an operation of this kind may take."""
        return {
            "install": self.install_deadline,
            "build": self.build_deadline,
            "start": self.start_deadline,
            "stop": self.stop_deadline,
            "restart": self.restart_deadline,
            "uninstall": self.uninstall_deadline,
        }[kind]

    def nats_credentials(self, service: str) -> tuple[str, str]:
        """User and password of this service: from the settings, else from `<data>/nats/credentials.json`."""
        if self.nats_user is not None and self.nats_password is not None:
            return self.nats_user, self.nats_password.get_secret_value()
        return service, self.stored_password(service)

    def stored_password(self, user: str) -> str:
        """The password of a NATS user in `<data>/nats/credentials.json`. Raises `SettingsError`."""
        path = self.data / CREDENTIALS
        wayout = "set MACHETE_NATS_USER and MACHETE_NATS_PASSWORD, or let `machete up` make that file"
        try:
            users = json.loads(path.read_text())
        except OSError as error:
            raise SettingsError(f"{path} cannot be read ({error.strerror}); {wayout}") from error
        except ValueError as error:
            raise SettingsError(f"{path} is not JSON ({error}); {wayout}") from error
        password = cast(dict[str, object], users).get(user) if isinstance(users, dict) else None
        if not isinstance(password, str):
            raise SettingsError(f"{path} has no password for the user {user!r}; {wayout}")
        return password


class _Variables(PydanticBaseSettingsSource):
    """The environment over the file. Every value is text; an empty one counts as not set."""

    def __init__(self, settings_cls: type[BaseSettings], data: object) -> None:
        super().__init__(settings_cls)
        self._values = {**read_file(_file(data)), **read_environment()}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        entry = self._values.get(variable(field_name))
        return (entry.value if entry and entry.value else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields.items()
        found = {name: self.get_field_value(field, name)[0] for name, field in fields}
        return {name: value for name, value in found.items() if value is not None}


def _file(data: object) -> Path:
    entry = read_environment().get(variable("data"))
    chosen = data or (entry.value if entry and entry.value else None) or default_data()
    return Path(str(chosen)).expanduser().absolute() / FILE_NAME


def _explained(cls: type[Settings], error: Mapping[str, Any]) -> str:
    """One line: which variable, what was found, what is allowed."""
    wrong = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return wrong
    name = str(error["loc"][0])
    field = cls.model_fields.get(name)
    if field is None:
        return f"there is no setting {name!r}"
    secret = "Secret" in str(field.annotation)
    found = "a value that is not shown" if secret else inert(masked(repr(error["input"])[:200]))
    if wrong.startswith("must "):
        return f"{variable(name)}: found {found}; it {wrong}"
    return f"{variable(name)}: found {found}; allowed is {_number(field) or wrong.removeprefix('Input should be ')}"


def _number(field: FieldInfo) -> str | None:
    """`a whole number from 0 to 65535`; None for what is no number."""
    kinds = get_args(field.annotation) or (field.annotation,)
    if not {int, float} & set(kinds):
        return None
    limits = {name: getattr(each, name) for each in field.metadata for name in _LIMITS if hasattr(each, name)}
    said = " ".join(f"{word} {limits[name]}" for name, word in _LIMITS.items() if name in limits)
    return f"{'a whole number' if int in kinds else 'a number'} {said}".strip()
