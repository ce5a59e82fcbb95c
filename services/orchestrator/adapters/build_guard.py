"""What a build is held to before and while it runs: by whom its Dockerfile is read, and which images it may read."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from services.orchestrator.adapters.scratch import scratch_folder
from services.orchestrator.domain.frontends import check_frontend
from services.orchestrator.domain.stacks.stack import Config, part, plain
from services.orchestrator.domain.tool_images import source_policy

POLICY = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"  # where both buildx and Compose look for it

_USUAL = "Dockerfile"


@contextmanager
def only_own_images(home: Path, repository: str) -> Generator[Mapping[str, str]]:
    """Environment by which a client has BuildKit refuse the images of other tools; `repository` has the tool's own."""
    with scratch_folder(home) as scratch:
        file = scratch / "sources.json"
        file.write_text(json.dumps(source_policy(repository)))
        yield {POLICY: str(file)}


def check_dockerfiles(config: Config, repository: Path) -> None:
    """Every Dockerfile of a stack, as Compose's own configuration leads to it. Raises `Failure` (policy_refused)."""
    for name, service in part(config, "services").items():
        build = part(service, "build")
        if build and not build.get("dockerfile_inline"):
            where = PurePosixPath(
                plain(build.get("context") or str(repository)), plain(build.get("dockerfile") or _USUAL)
            )
            check_dockerfile(Path(where), f"services.{name}.build")


def check_dockerfile(file: Path, where: str) -> None:
    """One that is not there is for the build to complain of. BuildKit takes `dockerfile` in its place."""
    for found in (file, *([file.with_name(_USUAL.lower())] if file.name == _USUAL else ())):
        if found.is_file():
            check_frontend(found.read_bytes(), f"{where}: {found.name}")
