"""However a fetch ends, nothing of it stays: no process, no folder, and nothing of another one goes."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from libs.runtime.children import Children, OwnerGone
from services.installer.adapters import git as git_adapter
from services.installer.adapters.git import GitOptions, GitSources
from services.installer.domain.failures import FetchFailed
from tests.installer.conftest import Lines, Publish, left_in, make_sources
from tests.support.git_server import GitServer
from tests.support.processes import MARK, marked, until

NOISE = {"noise": secrets.token_bytes(300_000)}


class MarkedChildren(Children):
    """Real children, which can be told from all others on the machine by a variable of theirs."""

    def __init__(self, mark: str, **times: float):
        super().__init__(**{"bound": 2.0, "heartbeat": 0.4, **times})
        self.mark = mark

    def run(self, argv, *, env=None, **options):  # pyright: ignore
        return super().run(argv, env={**(env or {}), MARK: self.mark}, **options)


@pytest.fixture
def mark() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def sources(work: Path, mark: str) -> GitSources:
    return GitSources(MarkedChildren(mark), work, GitOptions(protocols=("http",)))


async def begin(server: GitServer, sources: GitSources, url: str) -> asyncio.Task[None]:
    """A fetch that has got the beginning of its pack, and waits for more."""

    async def fetch() -> None:
        async with sources.fetch(url, log=Lines()):
            raise AssertionError("the pack was held back, so there is nothing to check out")

    task = asyncio.create_task(fetch())
    await asyncio.to_thread(server.wait_until_held)
    return task


async def test_a_cancelled_fetch_leaves_no_process_and_no_file(
    server: GitServer, publish: Publish, sources: GitSources, work: Path, mark: str
) -> None:
    url = publish(**NOISE)
    with server.holding(after=100_000):
        task = await begin(server, sources, url)
        assert marked(mark)
        assert len(left_in(work)) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 3)
        assert marked(mark) == []
        assert left_in(work) == []


async def test_a_cancel_waits_for_git_even_while_the_reader_is_still_being_loaded(
    server: GitServer, publish: Publish, sources: GitSources, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = threading.Event()
    monkeypatch.setattr(git_adapter, "load", lambda: loaded.wait(5))
    url = publish(**NOISE)
    with server.holding(after=100_000):
        task = await begin(server, sources, url)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 3)
        assert marked(mark) == []
    loaded.set()


async def test_a_fetch_that_stands_still_is_ended_in_time(
    server: GitServer, publish: Publish, work: Path, mark: str
) -> None:
    sources = GitSources(MarkedChildren(mark), work, GitOptions(protocols=("http",), timeout=1.5))
    url = publish(**NOISE)
    with server.holding(after=100_000):
        with pytest.raises(FetchFailed, match=r"longer than 1.5 seconds") as failed:
            async with sources.fetch(url, log=Lines()):
                pass
        assert failed.value.code == "fetch_too_slow"
        assert marked(mark) == []
        assert left_in(work) == []


async def test_a_fetch_that_lost_its_owner_is_ended_and_leaves_nothing(
    server: GitServer, publish: Publish, sources: GitSources, work: Path, mark: str
) -> None:
    url = publish(**NOISE)
    ours = True
    with server.holding(after=100_000):
        fetching = asyncio.create_task(_fetch(sources, url, lambda: ours))
        await asyncio.to_thread(server.wait_until_held)
        ours = False
        with pytest.raises(FetchFailed) as failed:
            await asyncio.wait_for(fetching, 10)
        assert failed.value.code == "git_killed"
        assert marked(mark) == []
        assert left_in(work) == []


async def _fetch(sources: GitSources, url: str, alive) -> None:  # pyright: ignore
    async with sources.fetch(url, log=Lines(), alive=alive):
        pass


async def test_a_fetch_without_an_owner_does_not_begin(
    server: GitServer, publish: Publish, sources: GitSources, work: Path
) -> None:
    url = publish()
    with pytest.raises(OwnerGone):
        await _fetch(sources, url, lambda: False)
    assert server.requests == []
    assert left_in(work) == []


async def test_a_failure_while_the_bundle_is_used_leaves_nothing_either(
    publish: Publish, sources: GitSources, work: Path, mark: str
) -> None:
    url = publish()

    async def stumble() -> None:
        async with sources.fetch(url, log=Lines()) as checkout:
            assert checkout.bundle.exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stumble()
    assert left_in(work) == []
    assert marked(mark) == []


async def test_a_cancel_while_the_tree_is_packed_waits_for_the_thread_and_leaves_nothing(
    publish: Publish, sources: GitSources, work: Path
) -> None:
    url = publish(**{f"f{number}": secrets.token_bytes(50_000) for number in range(400)})
    fetching = asyncio.create_task(_fetch(sources, url, lambda: True))
    while not list(work.glob("*/bundle.tar.gz")):  # noqa: ASYNC240
        assert not fetching.done()
        await asyncio.sleep(0.002)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert left_in(work) == []


async def test_one_fetch_ending_leaves_another_alone(
    server: GitServer, publish: Publish, sources: GitSources, work: Path
) -> None:
    quick, slow = publish("quick"), publish("slow", **NOISE)
    with server.holding(after=100_000):
        task = await begin(server, sources, slow)
        with pytest.raises(FetchFailed):
            async with sources.fetch(quick, "nothing", log=Lines()):
                pass
        assert len(left_in(work)) == 1
        assert not task.done()
        task.cancel()
        await asyncio.wait({task})


async def test_a_server_that_breaks_off_is_told_so(server: GitServer, publish: Publish, sources: GitSources) -> None:
    url = publish(**NOISE)
    with server.holding(after=100_000):
        fetching = asyncio.create_task(_fetch(sources, url, lambda: True))
        await asyncio.to_thread(server.wait_until_held)
        server.drop_connections()
        with pytest.raises(FetchFailed) as failed:
            await asyncio.wait_for(fetching, 10)
    assert failed.value.code == "git_connection_lost"


async def test_after_a_killed_platform_no_git_goes_on_and_the_next_start_sweeps(
    server: GitServer, publish: Publish, work: Path, mark: str
) -> None:
    url = publish(**NOISE)
    program = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from libs.runtime.children import Children
        from services.installer.adapters.git import GitOptions, GitSources
        async def log(line): pass
        async def main():
            sources = GitSources(Children(bound=2.0, heartbeat=0.4), Path(sys.argv[2]), GitOptions(protocols=("http",)))
            async with sources.fetch(sys.argv[1], log=log): pass
        asyncio.run(main())
        """
    )
    root = Path(__file__).parents[2]
    with server.holding(after=100_000):
        platform = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", program, url, str(work)], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
        )
        await asyncio.to_thread(server.wait_until_held)
        assert make_sources(work).sweep() == 0
        assert len(left_in(work)) == 1
        gits = gits_in(work)
        assert gits
        platform.send_signal(signal.SIGKILL)
        platform.wait()
        await until(lambda: not gits_in(work), within=5)
        assert make_sources(work).sweep() == 1
        assert left_in(work) == []


def gits_in(folder: Path) -> list[int]:
    """Processes that work in the folder: it stands in their arguments."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"git" in words and str(folder).encode() in words and b"python" not in words:
            found.append(int(process.name))
    return found


async def test_a_full_disk_is_told_so(publish: Publish, sources: GitSources, work: Path) -> None:
    url = publish(**NOISE)

    async def fill_the_disk(_: str) -> None:
        for name in left_in(work):
            (work / name / "bundle.tar.gz").unlink(missing_ok=True)
            (work / name / "bundle.tar.gz").symlink_to("/dev/full")

    with pytest.raises(FetchFailed) as failed:
        async with sources.fetch(url, log=fill_the_disk):
            pass
    assert failed.value.code == "disk_full"
    assert left_in(work) == []
