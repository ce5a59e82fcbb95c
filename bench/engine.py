"""The engine, through its own command line: what a user would type, and what cleans up behind a bench."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from bench.children import dying_with_us

KINDS = {
    "container": (["ps", "--all"], ["rm", "--force", "--volumes"]),
    "image": (["image", "ls"], ["image", "rm", "--force"]),
    "network": (["network", "ls"], ["network", "rm"]),
    "volume": (["volume", "ls"], ["volume", "rm", "--force"]),
}


class CommandFailed(Exception):
    """A program of theirs ended with an error; the text has its last words."""


async def run(*argv: str, env: dict[str, str] | None = None) -> str:
    """What it printed, once it has ended well."""
    process = await asyncio.create_subprocess_exec(
        *argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, complained = await process.communicate()
    if process.returncode != 0:
        last = complained.decode(errors="replace").strip()[-500:]
        raise CommandFailed(f"`{' '.join(argv)}` ended with {process.returncode}: {last}")
    return said.decode().strip()


@asynccontextmanager
async def starts(image: str) -> AsyncGenerator[Callable[[], Awaitable[None]]]:
    """A call that returns when the engine has started another container of this image."""
    since = f"{time.time():.3f}"  # so that none is missed while this connects
    chosen = [word for what in ("event=start", f"image={image}") for word in ("--filter", what)]
    argv = [shutil.which("docker") or "/usr/bin/docker", "events", "--since", since, *chosen, "--format", "{{.ID}}"]
    process = await asyncio.create_subprocess_exec(
        *dying_with_us(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    events = process.stdout
    assert events is not None

    async def another() -> None:
        if not await events.readline():
            raise CommandFailed(f"`{' '.join(argv)}` ended")

    try:
        yield another
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandFailed(
            f"`docker {' '.join(arguments)}` ended with {done.returncode}: {done.stderr.strip()[-500:]}"
        )
    return done.stdout.strip()


def remove_labelled(label: str) -> None:
    """Everything on the engine that carries this label (`name=value`), and nothing else."""
    for listing, removal in KINDS.values():
        found = docker(*listing, "--quiet", "--filter", f"label={label}").split()
        if found:
            docker(*removal, *dict.fromkeys(found))
