"""The manifest `machete.yml`: what a tool says about itself, and what MACHETE makes of it.

`Manifest` is the file as its author wrote it, checked and normalised. `ResolvedManifest` is what
travels: the same with everything decided that the file leaves open.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    WithJsonSchema,
)

from libs.contracts.envelope import Frozen
from libs.contracts.manifest_values import (
    Category,
    Cpu,
    Environment,
    InnerPath,
    Memory,
    Port,
    Restart,
    Seconds,
    ServiceName,
    Switch,
    Title,
    UrlPath,
    Volume,
    VolumeText,
    text_of,
)
from libs.contracts.versions import RULE, parse_requirement, satisfies
from libs.contracts.written import Bad

MANIFEST_FILES = ("machete.yml", "machete.yaml", "tool.json")
DEFAULT_READINESS_SECONDS = 60.0


def _line(value: object) -> str:
    return text_of(value, "this is one line of text, at most 2000 characters", limit=2000)


def _paragraphs(value: object) -> str:
    return text_of(value, "this is a text of at most 10000 characters", limit=10_000, lines=True)


def _color(value: object) -> str:
    return text_of(value, "a color is like #ff6b35 or the name of one", limit=30)


def _required_platform(value: object, info: ValidationInfo) -> str:
    requirement = parse_requirement(value) if isinstance(value, str) else None
    if requirement is None:
        raise Bad(RULE)
    platform = info.context["platform"] if info.context else None
    if platform is not None and not satisfies(platform, requirement):
        raise Bad(
            f"this MACHETE is {platform}, which is not what the tool asks for; take a version of the tool that asks "
            "for this one, or update MACHETE"
        )
    return str(value)


Line = Annotated[str, BeforeValidator(_line), WithJsonSchema({"type": "string", "maxLength": 2000})]
Paragraphs = Annotated[str, BeforeValidator(_paragraphs), WithJsonSchema({"type": "string", "maxLength": 10000})]
VersionText = Annotated[
    str,
    BeforeValidator(_line),
    AfterValidator(lambda text: text[:100]),
    WithJsonSchema({"type": ["string", "number"]}),
]
Color = Annotated[str, BeforeValidator(_color), Field(pattern=r"^(#[0-9A-Fa-f]{3,8}|[A-Za-z]{3,30})$")]
RequiredPlatform = Annotated[
    str,
    BeforeValidator(_required_platform),
    WithJsonSchema({"type": ["string", "number"], "examples": [">=1.0.0"]}),
]


class Part(BaseModel):
    """A mapping of the manifest; keys it does not know are passed over and told to the reader."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Runtime(Part):
    """How the tool runs under MACHETE."""

    version: RequiredPlatform | None = None
    """The least MACHETE that can run the tool."""
    category: Category = "other"
    port: Port | None = None
    """The port the tool serves, inside its container. Without it, the Dockerfile's EXPOSE counts."""
    health_check: UrlPath | None = None
    """A path on that port; an answer of 200 means healthy."""
    environment: Environment = Field(default_factory=dict)
    """A list of NAME=value or a mapping."""
    volumes: tuple[VolumeText, ...] = ()
    """SOURCE:TARGET[:ro]; a relative source lies in the tool's own data folder and is filled
    once with what the repository ships there, a name is a named volume."""
    dependencies: tuple[Line, ...] = ()
    """Other tools or services it needs; this release does not start them."""
    dockerfile: InnerPath | None = None
    """The Dockerfile to build from, if it is not `Dockerfile`: the tool is one container, whatever else lies beside."""
    compose: InnerPath | None = None
    """The Compose file to run, if it is none of the four that are found by themselves: the tool is a stack."""
    service: ServiceName | None = None
    """Of a stack, the service that answers on the port; found by the ports that are published, if it is not said."""
    readiness_timeout: Seconds | None = None
    """How long a start may take until the tool is healthy; 60 seconds if it is not said."""
    restart: Restart = "unless-stopped"
    """When what should run and does not is started again; `always` also where somebody stopped it by hand, once."""


class Route(Part):
    """A page of the tool."""

    path: UrlPath
    title: Line | None = None
    description: Paragraphs | None = None


class Ui(Part):
    """How the tool wants to be shown; kept with it, and not used by this release."""

    icon: Line | None = None
    color: Color | None = None
    routes: tuple[Route, ...] = ()


class ResourceTexts(Part):
    """What the tool may use at most."""

    memory: Memory | None = None
    """Bytes, with Ki, Mi, Gi, Ti (1024) or K, M, G, T (1000) behind it."""
    cpu: Cpu | None = None
    """Cores, or thousandths of one with an m behind it."""


class FilesystemPermissions(Part):
    """What the tool may do with its own file system."""

    read_only: Switch = False


class Permissions(Part):
    """What the tool asks to be allowed; `docker` is never granted by this release."""

    docker: Switch = False
    filesystem: FilesystemPermissions = FilesystemPermissions()


class Setup(Part):
    """What is to be done once; this release does none of it."""

    script: InnerPath | None = None
    config_files: tuple[InnerPath, ...] = ()


class Manifest(Part):
    """The manifest of a tool for MACHETE."""

    name: Title | None = None
    version: VersionText | None = None
    description: Paragraphs = ""
    author: Line | None = None
    license: Line | None = None
    repository: Line | None = None
    machete: Runtime = Runtime()
    config: dict[str, JsonValue] = Field(default_factory=dict)
    """Free values, kept with the tool; this release does nothing else with them."""
    ui: Ui = Ui()
    resources: ResourceTexts = ResourceTexts()
    permissions: Permissions = Permissions()
    setup: Setup = Setup()


class Resources(Frozen):
    """Limits; None leaves it to the platform's default."""

    memory_bytes: int | None = None
    nano_cpus: int | None = None


class ResolvedManifest(Frozen):
    """A manifest with everything decided.

    `manifest_file` is the file it came from (`Dockerfile` or the Compose file where it was inferred). Paths are
    relative to the tool's folder in the repository, `readiness_timeout` is in seconds, `environment` holds every
    value whole. Of a stack `compose` names the Compose file; `service` and `port`, where they are None, are decided
    by what the file publishes, and `environment`, `volumes` and `resources` are those of that service.
    """

    name: str
    version: str
    description: str = ""
    author: str | None = None
    license: str | None = None
    repository: str | None = None
    category: str = "other"
    manifest_file: str
    kind: Literal["container", "stack"] = "container"
    dockerfile: str = "Dockerfile"
    compose: str | None = None
    service: str | None = None
    port: int | None = None
    health_check: str | None = None
    readiness_timeout: float = DEFAULT_READINESS_SECONDS
    restart: Literal["always", "unless-stopped", "on-failure", "no"] = "unless-stopped"
    environment: dict[str, str] = Field(default_factory=dict)
    volumes: tuple[Volume, ...] = ()
    dependencies: tuple[str, ...] = ()
    resources: Resources = Resources()
    permissions: Permissions = Permissions()
    setup: Setup = Setup()
    ui: Ui = Ui()
    config: dict[str, JsonValue] = Field(default_factory=dict)


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `machete.yml` and `tool.json`."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:machete:schema:v1:manifest",
    }
    return head | Manifest.model_json_schema(mode="validation")
