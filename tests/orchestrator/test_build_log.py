"""A build log of any length, with a client that only talks."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from libs.runtime.children import Children
from services.orchestrator.adapters.builder import BuildxBuilder
from services.orchestrator.adapters.engine import Engine
from services.orchestrator.domain.failures import BuildFailed, EngineError
from services.orchestrator.domain.specs import BuildSpec


class NoImages(Engine):
    """An engine that lives and has nothing."""

    async def read(self, method: Any, path: str, *rest: Any, **options: Any) -> bytes:
        if path == "/_ping":
            return b"OK"
        raise EngineError("not_found", "No such image", status=404)


def written(folder: Path, script: str) -> Path:
    (folder / "Dockerfile").write_text("FROM scratch\n")
    client = folder / "client.py"
    client.write_text(script)
    return client


async def talk(folder: Path, script: str) -> tuple[list[str], BuildFailed]:
    client = written(folder, script)
    seen: list[str] = []

    async def log(lines: list[str]) -> None:
        seen.extend(lines)

    builder = BuildxBuilder(NoImages(), Children(), folder / "home", (sys.executable, "-I", str(client)))
    with pytest.raises(BuildFailed) as failed:
        await builder.build(BuildSpec("abcd2345", "web-abc234", "r", folder), log)
    return seen, failed.value


async def test_a_hundred_thousand_lines_come_whole_in_linear_time(tmp_path: Path):
    async def seconds(count: int) -> float:
        began = time.perf_counter()
        seen, _ = await talk(tmp_path, f"for n in range({count}): print('#7 0.1 line', n)\nraise SystemExit(1)")
        assert seen == [f"#7 0.1 line {n}" for n in range(count)]
        return time.perf_counter() - began

    await seconds(1000)
    few, many = await seconds(20_000), await seconds(100_000)
    assert many < 10 * few


async def test_a_line_without_an_end_does_no_harm(tmp_path: Path):
    seen, _ = await talk(tmp_path, "print('x' * 10_000_000)\nraise SystemExit(1)")
    assert sum(map(len, seen)) == 10_000_000
    assert max(map(len, seen)) <= 16 * 1024


async def test_a_failed_clients_last_words_are_kept(tmp_path: Path):
    script = (
        "import sys\nprint('\\x1b[31mERROR: failed to solve: no luck\\x1b[0m', file=sys.stderr)\nraise SystemExit(1)"
    )
    seen, failed = await talk(tmp_path, script)
    assert seen == ["ERROR: failed to solve: no luck"]
    assert failed.message == "The build failed: no luck: mend the Dockerfile, or what it takes in."
    assert failed.detail == {"log": seen}
