"""What no tracked file may contain, and what every service must have."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Written in halves, so that this file does not find itself.
REGISTRIES = [
    f"{first}.{second}"
    for first, second in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("docker", "io/"),
        ("ghcr", "io"),
        ("quay", "io"),
        ("deb.debian", "org"),
        ("proxy.golang", "org"),
    )
]
SHELLS = [f"{first}{second}" for first, second in (("shell=", "True"), ("os.", "system("), ("os.", "popen("))]
SERVICE_FILES = ("__init__.py", "app.py", "settings.py", "handlers.py", "ports.py")


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name for name in listed.decode().split("\0") if name]
    return [file for file in files if file.is_file()]


def services() -> list[Path]:
    return [folder for folder in sorted((ROOT / "services").iterdir()) if (folder / "app.py").is_file()]


def lines_with(words: list[str], suffixes: tuple[str, ...] = ()) -> list[str]:
    found: list[str] = []
    for file in tracked_files():
        if suffixes and file.suffix not in suffixes:
            continue
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1):
            found += [f"{file.relative_to(ROOT)}:{number}: {word}" for word in words if word in line]
    return found


def test_no_file_names_the_host_of_a_package_registry() -> None:
    assert lines_with(REGISTRIES) == []


def test_no_program_is_started_through_a_shell() -> None:
    assert lines_with(SHELLS, (".py",)) == []


def test_every_service_is_found() -> None:
    assert {folder.name for folder in services()} >= {"gateway", "installer", "orchestrator", "status"}


@pytest.mark.parametrize("folder", services(), ids=lambda folder: folder.name)
def test_every_service_has_the_files_of_the_house(folder: Path) -> None:
    missing = [name for name in SERVICE_FILES if not (folder / name).is_file()]
    if not (folder / "domain.py").is_file() and not (folder / "domain").is_dir():
        missing.append("domain.py or domain/")
    assert missing == []


@pytest.mark.parametrize("folder", services(), ids=lambda folder: folder.name)
def test_every_service_is_documented(folder: Path) -> None:
    pages = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    forms = (f"`{folder.name}`", f"**{folder.name}**", f"services/{folder.name}")
    naming = [page.name for page in pages if page.is_file() and any(form in page.read_text() for form in forms)]
    assert naming, f"neither CONTRIBUTING.md nor docs/ names the service {folder.name}"
