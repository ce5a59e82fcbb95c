"""The example log-digest: what its worker makes of lines. That the stack runs is held where stacks are."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

APP = Path(__file__).parents[2] / "examples" / "log-digest" / "app"


@pytest.fixture(scope="module")
def patterns() -> ModuleType:
    spec = importlib.util.spec_from_file_location("log_digest_patterns", APP / "patterns.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("2026-01-02T03:04:05.678Z INFO request 17 took 3.2 ms", "<time> INFO request <n> took <n> ms"),
        ("03:04:05 GET /a/b/c from 10.0.0.1:443", "<time> GET <path> from <address>"),
        ("commit 61104beeae74acf77717423a7e75a91fa6bf673f", "commit <id>"),
        ("user 'ada' said \"hello\"", "user <text> said <text>"),
        ('{"level":"info","ms": 3}', '{"level":<text>,"ms": <n>}'),
        ("nothing varies here", "nothing varies here"),
    ],
)
def test_what_varies_is_left_out_of_the_pattern(patterns: ModuleType, line: str, pattern: str) -> None:
    assert patterns.pattern_of(line) == pattern


def test_the_most_frequent_pattern_comes_first_with_its_first_line(patterns: ModuleType) -> None:
    lines = ["started", "", "request 1 took 2 ms", "request 3 took 4 ms", "   "]
    found = [(each.text, each.example, each.lines) for each in patterns.digest(lines)]
    assert found == [("request <n> took <n> ms", "request 1 took 2 ms", 2), ("started", "started", 1)]
