"""Which program reads a Dockerfile: Docker's own, as `# syntax=` may choose it, and no other.

It is this program that keeps a tool's cache mounts apart from those of others (`names.cache_namespace`); any other one,
and Docker's own from before it knew how, could ask BuildKit for theirs.
"""

import re

from libs.contracts.problems import Failure

ARGUMENT = "BUILDKIT_SYNTAX"  # a build argument that chooses the program, whatever the Dockerfile says
ADVICE = "a Dockerfile is read by Docker's own docker/dockerfile from 1.3 on, by its version; write docker/dockerfile:1"

_VERSION = r"latest|labs|master|master-labs|1(\.([3-9]|[1-9][0-9]+)(\.[0-9]+)?)?(-labs)?"
_OWN = re.compile(rf"(docker\.io/)?docker/dockerfile(-upstream)?(:({_VERSION}))?")
_SAID = re.compile(r"(?:#|//)\s*syntax\s*=(?P<value>.*)", re.IGNORECASE | re.DOTALL)


def is_own(reference: str) -> bool:
    return _OWN.fullmatch(reference) is not None


def check_frontend(dockerfile: bytes, where: str) -> None:
    """Raises `Failure` (policy_refused) where the file is for another program. `where` is how people know the file.

    Read with less care than BuildKit has for where such a line counts: each of the comments it begins with is taken
    for one.
    """
    text = dockerfile.decode("utf-8", "replace").lstrip("\ufeff")
    for found in _choices(text):
        if not is_own(found):
            raise Failure("policy_refused", f"{where}: found syntax={found[:60]!a}; {ADVICE}.")
    body = text.partition("\n")[2] if text.startswith("#!") else text
    if body.lstrip("\ufeff \t\r\n").startswith("{"):
        raise Failure("policy_refused", f"{where}: this is no Dockerfile, but one in JSON; {ADVICE}.")


def _choices(text: str) -> list[str]:
    found: list[str] = []
    for line in text.split("\n"):
        bare = line.strip().lstrip("\ufeff")
        if bare and not bare.startswith(("#", "//")):
            break
        said = _SAID.match(bare)
        if said and (value := said["value"].strip()):
            found.append(value.partition(" ")[0])
    return found
