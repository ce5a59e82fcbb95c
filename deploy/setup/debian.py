"""Packages of Debian, taken from the mirrors this machine already names.

Debian 12's own engine and Compose are too old, so those few packages come from the release after it, pinned:
nothing else of the machine moves there. apt runs here with its own view of the sources, so that another entry
on the machine which is broken or unreachable does not stop set-up.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.setup.shell import SetupFailed, ask, clean_environment, run, say

OWN, NEXT = "bookworm", "trixie"
OWN_SUITES = (OWN, f"{OWN}-updates", f"{OWN}-security")
ENGINE_PACKAGES = ("containerd", "docker-buildx", "docker-cli", "docker-compose", "docker.io")

SOURCES = Path("/etc/apt/sources.list.d/machete-engine.sources")
PREFERENCES = Path("/etc/apt/preferences.d/machete-engine")
OWN_VIEW = Path("/var/lib/machete/apt")
LOCK_PATIENCE = 300  # seconds to wait while another program installs packages
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# machete set-up: no service starts while packages are being installed\nexit 101\n"


@dataclass(frozen=True)
class Source:
    """One entry of apt's sources. `options` are deb822 fields beside the four that every entry has."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    def to_text(self) -> str:
        fields = {
            "Types": "deb",
            "URIs": " ".join(self.uris),
            "Suites": " ".join(self.suites),
            "Components": " ".join(self.components),
            **self.options,
        }
        return "".join(f"{name}: {value}\n" for name, value in fields.items())


def is_bookworm(os_release: Path = Path("/etc/os-release")) -> bool:
    if not os_release.is_file():
        return False
    pairs = (line.split("=", 1) for line in os_release.read_text().splitlines() if "=" in line)
    values = {name: value.strip("\"'") for name, value in pairs}
    return values.get("ID") == "debian" and values.get("VERSION_ID") == "12"


def parse_deb822(text: str) -> list[Source]:
    """The `deb` entries of a `.sources` file, without the disabled ones."""
    sources: list[Source] = []
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = _fields(stanza)
        if "deb" not in fields.pop("types", "").split() or fields.pop("enabled", "yes").lower() in (
            "no",
            "false",
        ):
            continue
        uris, suites, components = (fields.pop(name, "").split() for name in ("uris", "suites", "components"))
        options = {name.title(): value for name, value in fields.items()}
        sources.append(Source(tuple(uris), tuple(suites), tuple(components), options))
    return sources


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t") and name:
            fields[name] += f"\n{line}"
        elif ":" in line:
            name, value = line.split(":", 1)
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def parse_classic(text: str) -> list[Source]:
    """The `deb` lines of a `sources.list`."""
    sources: list[Source] = []
    for line in text.splitlines():
        found = re.match(
            r"deb\s+(?:\[(?P<options>[^]]*)]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>[^#]*)",
            line.strip(),
        )
        if found is None:
            continue
        pairs = (option.split("=", 1) for option in (found["options"] or "").split() if "=" in option)
        names = {"arch": "Architectures"}
        options = {names.get(name, name.title()): value.replace(",", " ") for name, value in pairs}
        sources.append(Source((found["uri"],), (found["suite"],), tuple(found["components"].split()), options))
    return sources


def debian_sources(sources: Iterable[Source]) -> list[Source]:
    """Debian's own among `sources`: a suite of this release, with `main`, under Debian's key if under any."""
    chosen: list[Source] = []
    for source in sources:
        suites = tuple(suite for suite in source.suites if suite in OWN_SUITES)
        signed_by = source.options.get("Signed-By", "")
        foreign_key = signed_by.startswith("/") and "debian" not in signed_by
        if suites and "main" in source.components and not foreign_key:
            chosen.append(Source(source.uris, suites, ("main",), source.options))
    return chosen


def next_release(source: Source) -> Source:
    suites = tuple(suite.replace(OWN, NEXT) for suite in source.suites)
    return Source(source.uris, suites, source.components, source.options)


def preferences() -> str:
    """Only the engine's packages may come from the next release."""
    return (
        f"Package: *\nPin: release n={NEXT}*\nPin-Priority: -10\n\n"
        f"Package: {' '.join(ENGINE_PACKAGES)}\nPin: release n={NEXT}*\nPin-Priority: 600\n"
    )


def machine_sources(folder: Path = Path("/etc/apt")) -> list[Source]:
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]
    classic = [source for file in files if file.is_file() for source in parse_classic(file.read_text())]
    modern = sorted((folder / "sources.list.d").glob("*.sources"))
    found = debian_sources([*classic, *(source for file in modern for source in parse_deb822(file.read_text()))])
    if not found:
        raise SetupFailed(
            f"no entry for Debian's {OWN} (component main) in {folder}/sources.list "
            f"or {folder}/sources.list.d: add the mirror this machine should use"
        )
    return found


def mirror() -> str:
    """The address of a Debian mirror that carries the whole release (not only its updates)."""
    return next(source.uris[0] for source in machine_sources() if OWN in source.suites)


def installed(packages: Iterable[str]) -> set[str]:
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *packages]
    lines = (line.split() for line in ask(query)[1].splitlines())
    return {words[0] for words in lines if len(words) == 2 and words[1] == "installed"}


def ensure_packages(packages: Sequence[str]) -> None:
    """Install what is missing of `packages`; needs root on Debian 12."""
    missing = sorted(set(packages) - installed(packages))
    if not missing:
        return
    say(f"Debian: installing {' '.join(missing)}")
    apt = _apt(wanting_engine=not set(missing).isdisjoint(ENGINE_PACKAGES))
    # An unreachable entry must not stop us: whether the packages can be had, apt says below.
    code, words = ask([*apt, "update"], timeout=600)
    if code != 0:
        say(f"Debian: `apt-get update` was not content; going on with what it could read\n{words}")
    with _no_service_starts():
        environment = {**clean_environment(), "DEBIAN_FRONTEND": "noninteractive"}
        _finish_interrupted(environment)
        run([*apt, "install", "--yes", "--no-install-recommends", *missing], environment=environment)


def _finish_interrupted(environment: Mapping[str, str]) -> None:
    """A package that a killed apt left half-configured would stop every later one; that apt may still be at it."""
    end = time.monotonic() + LOCK_PATIENCE
    while True:
        code, words = ask(
            ["dpkg", "--configure", "-a", "--force-confold"], timeout=LOCK_PATIENCE, environment=environment
        )
        if code == 0:
            return
        if "lock" not in words or time.monotonic() > end:
            raise SetupFailed(f"packages are half-configured, and `dpkg --configure -a` does not finish them:\n{words}")
        time.sleep(1)


def _apt(*, wanting_engine: bool) -> list[str]:
    """apt-get with a view of its own: Debian's entries alone, their lists kept apart from the machine's."""
    own = machine_sources()
    following = [next_release(source) for source in own]
    parts = OWN_VIEW / "sources"
    for folder in (parts, OWN_VIEW / "lists" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    (parts / "debian.sources").write_text(_joined(own))
    if wanting_engine:
        # For the machine's own apt as well, so that the engine goes on getting its security updates.
        SOURCES.write_text(_joined(following))
        PREFERENCES.write_text(preferences())
        (parts / "next.sources").write_text(_joined(following))
    pinning = OWN_VIEW / "preferences"
    pinning.write_text(preferences())
    options = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": str(parts),
        "Dir::Etc::Preferences": str(pinning),
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Lists": str(OWN_VIEW / "lists"),
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "DPkg::Lock::Timeout": str(LOCK_PATIENCE),
        "Acquire::Retries": "3",
        "Dpkg::Use-Pty": "0",
    }
    return ["apt-get", "-q", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]


def _joined(sources: Iterable[Source]) -> str:
    return "\n".join(source.to_text() for source in sources)


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Without systemd a package would start its service in its own way, before it is configured."""
    if POLICY.exists() and POLICY.read_text(errors="replace") != POLICY_TEXT:
        yield
        return
    POLICY.write_text(POLICY_TEXT)
    os.chmod(POLICY, 0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)
