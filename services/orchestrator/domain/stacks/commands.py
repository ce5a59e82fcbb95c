"""How Compose is called, and what its complaints say in one sentence."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from libs.contracts.problems import Failure
from services.orchestrator.domain.builds import BuildLog
from services.orchestrator.domain.failures import DiskFull, EngineError, is_about_room

LAST_LINES = 20

# As children end that a signal ended, and that could not be started.
_SIGNALLED = 128
_NOT_STARTED = 127

# A repository's `.env` is for its Compose file; Compose would also take its own settings from it, and Docker's.
_SETTINGS = (
    r"(?:COMPOSE|BUILDX|BUILDKIT|OTEL|GRPC|LD)_\w+",
    r"DOCKER_(?:HOST|CONTEXT|CONFIG|CERT_PATH|TLS\w*|API_VERSION|BUILDKIT|DEFAULT_PLATFORM|CUSTOM_HEADERS)",
    r"DOCKER_(?:AUTH_CONFIG|CONTENT_TRUST\w*|CLI_\w+|HIDE_\w+)",
    r"GO(?:DEBUG|GC|MAXPROCS|MEMLIMIT|TRACEBACK|COVERDIR)",
    r"SSH_(?:AUTH_SOCK|ASKPASS\w*)",
)
# A name stands at the beginning of a line or right after what ended by a quote, wherever that began.
_OF_PROGRAMS = re.compile(rf"(?:^|[\"'])[\s\ufeff]*(?:export\s+)?(?:{'|'.join(_SETTINGS)})\s*[=:]")
_CONTAINER = re.compile(r"\bmachete-[a-z0-9]+-[a-z0-9-]+?-[a-z2-7]{6}-(?P<service>.+)-\d+\b")
_PREFIXES = re.compile(r"^(?:Error response from daemon|Error|error|ERROR|failed to \w+|validating [^:]+):\s*")
_NOISE = re.compile(r"^ ?(?:Container|Network|Volume|Image|Service) \S+ .*$|^time=.*level=warning")
_WARNING = re.compile(r'^time="[^"]*" level=warning msg="(?P<said>.*)"$')
_NOT_PULLED = re.compile(r"^\s*(?P<service>\S+) Error (?P<said>.+)$")
_UNSET = re.compile(r'^The \\?"(?P<name>[^"\\]+)\\?" variable is not set')


def base_argv(compose: Sequence[str], project: str, folder: Path, file: Path) -> list[str]:
    return [*compose, "--project-name", project, "--project-directory", str(folder), "--file", str(file)]


def config_argv(base: Sequence[str], environment: Path, output: Path) -> list[str]:
    """The merged and interpolated configuration, written to a file, apart from what Compose has to say of it."""
    return [*base, "--env-file", str(environment), "config", "--format", "json", "--output", str(output)]


def build_argv(base: Sequence[str], services: Sequence[str]) -> list[str]:
    return [*base, "--progress", "plain", "--ansi", "never", "build", *services]


def pull_argv(base: Sequence[str], services: Sequence[str]) -> list[str]:
    return [*base, "--progress", "plain", "--ansi", "never", "pull", *services]


def create_argv(base: Sequence[str]) -> list[str]:
    return [*base, "--progress", "plain", "--ansi", "never", "create", "--no-build", "--pull", "never"]


def up_argv(base: Sequence[str]) -> list[str]:
    quiet = ("--no-build", "--pull", "never", "--remove-orphans", "--detach")
    return [*base, "--progress", "plain", "--ansi", "never", "up", *quiet]


def interpolation(repository: str, manifest: Mapping[str, str]) -> str:
    """The only variables a Compose file can name: the repository's `.env`, and the manifest's over it.

    Lines that are passed over stay as empty ones, so that a complaint names the line as it stands in the file.
    """
    kept = ["" if _OF_PROGRAMS.search(line) else line for line in repository.split("\n")]
    said = [f'{name}="{_quoted(value)}"' for name, value in manifest.items() if re.fullmatch(r"[A-Za-z_]\w*", name)]
    return "\n".join((*kept, *said, ""))


def _quoted(value: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n", "\r": "\\r"}
    return "".join(escapes.get(char, char) for char in value)


def unset_variables(lines: Sequence[str]) -> list[str]:
    """The names of variables that Compose missed, in the order of their first mention."""
    said = (found["said"] for line in lines if (found := _WARNING.match(line)))
    return list(dict.fromkeys(found["name"] for text in said if (found := _UNSET.match(text))))


def config_failure(code: int, lines: Sequence[str], repository: Path, environment: Path) -> Failure:
    """Why there is nothing that Compose makes of the file, which need not be at fault; paths as in the repository."""
    said = _complaint(lines)
    if is_about_room(said):
        return DiskFull()
    if code > _SIGNALLED:
        return Failure(
            "compose_killed",
            f"Compose was ended from outside (signal {code - _SIGNALLED}) before it had read the tool's file, perhaps "
            "for want of memory: try again.",
        )
    if code == _NOT_STARTED or not said:
        ended = said or f"it ended with exit code {code}, without a word"
        return Failure("compose_failed", f"Compose could not look at the tool's file: {ended.rstrip('.')}.")
    local = said.replace(str(environment), ".env").replace(f"{repository}/", "").replace(str(repository), ".")
    return Failure("compose_invalid", f"Compose does not take the tool's file: {local.rstrip('.')}.")


def run_failure(what: str, code: int, lines: Sequence[str]) -> Failure:
    """Why `up` or `create` ended badly."""
    said = (_complaint(lines) or f"Compose ended with exit code {code}").rstrip(".")
    if "No such image" in said or "no such image" in said:
        image = said.rpartition(": ")[2]
        return EngineError("image_missing", f"The engine has no image {image}: build the tool again.", status=404)
    if is_about_room(said):
        return DiskFull(said, list(lines)[-LAST_LINES:])
    return EngineError("compose_failed", f"The stack could not be {what}: {said}.", {"log": list(lines)[-LAST_LINES:]})


def pull_failure(code: int, lines: Sequence[str]) -> Failure:
    said = (_complaint(lines) or f"Compose ended with exit code {code}").rstrip(".")
    if is_about_room(said):
        return DiskFull(said, list(lines)[-LAST_LINES:])
    refused = {found["service"]: found["said"] for line in lines if (found := _NOT_PULLED.match(line))}
    whose = f"The image of {' and of '.join(sorted(refused))}" if refused else "An image of the stack"
    return Failure(
        "image_not_pulled",
        f"{whose} could not be pulled: {said}: check its name in the Compose file, and whether this host reaches the "
        "registry.",
        {"log": list(lines)[-LAST_LINES:]},
    )


def build_failure(code: int, lines: Sequence[str], log: BuildLog) -> Failure:
    """Compose says in the end what BuildKit's own client would, but for the word before it."""
    log.read([f"ERROR: {line}" for line in lines if line.startswith("failed to solve")])
    return log.failure(code)


def _complaint(lines: Sequence[str]) -> str:
    """The last line that is no progress, without the words that only say that it is one; services by their names."""
    telling = [line.strip() for line in lines if line.strip() and not _NOISE.match(line)]
    if not telling:
        return ""
    said = telling[-1]
    while (shorter := _PREFIXES.sub("", said)) != said:
        said = shorter
    return _CONTAINER.sub(lambda found: found["service"], said)
