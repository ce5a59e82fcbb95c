"""libs.contracts holds shapes and nothing that acts, so that anything may stand on it."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ALLOWED_PACKAGES = {"libs", "pydantic", "pydantic_core", "typing_extensions"}
# What of the standard library reaches beyond the process: disks, networks, programs, threads, signals.
ACTING = {
    "asyncio", "concurrent", "ctypes", "fcntl", "ftplib", "glob", "http", "io", "logging", "mmap", "multiprocessing",
    "os", "pathlib", "pty", "select", "selectors", "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3",
    "ssl", "subprocess", "sys", "tarfile", "tempfile", "threading", "zipfile",
}  # fmt: skip
ACTING_PARTS = {"urllib.request"}


def imported_by(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def is_allowed(module: str) -> bool:
    package = module.split(".")[0]
    if package in ALLOWED_PACKAGES:
        return True
    return package in sys.stdlib_module_names and package not in ACTING and module not in ACTING_PARTS


def test_contracts_import_pydantic_and_the_quiet_part_of_the_standard_library_only() -> None:
    files = sorted((ROOT / "libs" / "contracts").rglob("*.py"))
    assert files
    assert {
        f"{file.name}: {module}" for file in files for module in imported_by(file) if not is_allowed(module)
    } == set()


def test_the_rule_itself_tells_what_acts_from_what_does_not() -> None:
    asked = ("re", "pydantic", "urllib.parse", "os", "subprocess", "urllib.request", "nats")
    assert [module for module in asked if not is_allowed(module)] == ["os", "subprocess", "urllib.request", "nats"]
