"""How an image is built, and what the log of a failed build says in one sentence."""

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from libs.contracts.problems import Failure
from services.orchestrator.domain import names
from services.orchestrator.domain.failures import BuildFailed, DiskFull, EngineAway, is_about_room
from services.orchestrator.domain.specs import BuildSpec
from services.orchestrator.domain.tool_images import denied_image

LAST_LINES = 20

CACHE_NAMESPACE = "BUILDKIT_CACHE_MOUNT_NS"

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")  # all but the tab
_STEP = re.compile(r"^#(\d+) \[([^\]]+)\] (.+)$")
_STEP_FAILED = re.compile(r"^#(\d+) ERROR: (.+)$")
_FAILED = re.compile(r"^ERROR: (?:failed to (?:build|solve): )*(.+)$")
_ENGINE_GONE = re.compile(
    r"Cannot connect to the Docker daemon|code = Unavailable|error reading from server|"
    r"connection reset by peer|failed to receive status|transport is closing|graceful_stop"
)
# What BuildKit was about when it found out says nothing to whoever wrote the Dockerfile.
_ABOUT = re.compile(
    r"failed to (?:compute cache key|calculate checksum of ref \S+|resolve source metadata for \S+|do request|solve): "
)

# The tool's own words stand in such an error; whatever they say, it was the step that failed.
_STEP_ENDED_BADLY = re.compile(r'process ".*" did not complete', re.DOTALL)


def build_argv(spec: BuildSpec, buildx: Sequence[str]) -> list[str]:
    """The BuildKit client's command line, to be run in the tool's folder.

    The `default` builder is the engine itself, so what it builds is at once the engine's, without a copy.
    """
    options = [
        "--builder=default",
        "--progress=plain",
        "--provenance=false",
        "--load",
        f"--file={spec.dockerfile}",
        f"--tag={spec.image}",
        *(f"--label={name}={value}" for name, value in spec.labels.items()),
        *(f"--build-arg={name}={value}" for name, value in sorted(spec.arguments.items())),
        f"--build-arg={CACHE_NAMESPACE}={names.cache_namespace(spec.instance, spec.tool)}",
    ]
    return [*buildx, "build", *options, "."]


def build_environment(reach: Mapping[str, str], home: str, path: str) -> dict[str, str]:
    """All that the client may know: nothing else of the platform's environment reaches a build (or a log).

    `reach` says where the engine is; `home` keeps the client's own state, apart from any person's.
    """
    return {
        **reach,
        "PATH": path,
        "HOME": home,
        "DOCKER_CONFIG": home,
        "BUILDX_GIT_INFO": "false",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
    }


def readable(text: str) -> str:
    """Without colours, cursor movements and other control characters, which a log must not carry on."""
    return text if text.isprintable() else _CONTROLS.sub("", _ESCAPES.sub("", text))


def already_there(images: Iterable[str]) -> str:
    """What the log of a build says in which there was nothing to do, that it be not taken for one that was lost."""
    several = sorted(set(images))
    which, are = ("images", "are") if len(several) > 1 else ("image", "is")
    return f"the {which} {', '.join(several)} of this release {are} there already: nothing to build"


class BuildLog:
    """Follows a plain progress log to be able to say, at the end, which step failed and why."""

    def __init__(self) -> None:
        self._tail: deque[str] = deque(maxlen=LAST_LINES)
        self._steps: dict[str, str] = {}
        self._failed_step: str | None = None
        self._error: str | None = None

    def read(self, lines: Sequence[str]) -> None:
        for line in lines:
            if line.startswith("#"):
                self._follow(line)
            elif found := _FAILED.match(line):
                self._error = found[1]
            if line.strip():
                self._tail.append(line)

    @property
    def last_lines(self) -> list[str]:
        return list(self._tail)

    def failure(self, exit_code: int) -> Failure:
        """Why the client ended with this code. A lost engine is no fault of the build."""
        error = (self._error or f"the BuildKit client ended with exit code {exit_code}").rstrip(". ")
        if _ENGINE_GONE.search(error) and not _STEP_ENDED_BADLY.search(error):
            return EngineAway(f"The Docker Engine went away during the build: {error}.")
        if is_about_room(error) and not _STEP_ENDED_BADLY.search(error):
            return DiskFull(_ABOUT.sub("", error), self.last_lines)
        where = f" at step {self._failed_step}" if self._failed_step else ""
        if image := denied_image(error):
            return Failure(
                "policy_refused",
                f"The build reads the image {image}, which MACHETE built for another tool: build on a public image, or "
                "on one of the tool's own.",
                {"log": self.last_lines},
            )
        only_lines_tell = self._error is None or _STEP_ENDED_BADLY.search(error)
        advice = "its last lines say why" if only_lines_tell else "mend the Dockerfile, or what it takes in"
        return BuildFailed(f"The build failed{where}: {_ABOUT.sub('', error)}: {advice}.", self.last_lines)

    def _follow(self, line: str) -> None:
        if step := _STEP.match(line):
            self._steps.setdefault(step[1], f"{step[2]} `{step[3]}`")
        elif failed := _STEP_FAILED.match(line):
            self._failed_step = self._steps.get(failed[1])
            self._error = self._error or failed[2]
