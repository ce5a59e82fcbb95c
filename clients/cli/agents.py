"""`machete agent`: who besides people may ask the platform for something, over NATS."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any, TextIO
from urllib.parse import quote

import typer

from clients.cli import place
from clients.cli.api import Api
from clients.cli.exits import USAGE, Ending
from clients.cli.output import ago, note, print_json, table
from libs.runtime import private_files

app = typer.Typer(help="Agents: programs that ask over NATS.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The agent's name.")]
PATH = "/api/v1/agents"


@app.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option(help="viewer, operator or admin: what it may ask for.")] = "viewer",
    output: Annotated[
        Path | None, typer.Option(help="Where its credentials file goes; else NAME.creds in this folder.")
    ] = None,
    json: Json = False,
) -> None:
    """Let an agent in, and write its credentials file. They are stored nowhere else."""
    path = output or Path(f"{name}.creds")
    # Made before anything is asked for: credentials that cannot be kept would be lost.
    with _made(path) as file:
        try:
            added = Api(place.find()).post(PATH, {"name": name, "role": role})
        except BaseException:
            path.unlink()
            raise
        file.write(added["credentials"])
        file.flush()
        os.fsync(file.fileno())
    agent: dict[str, Any] = added["agent"]
    if json:
        print_json({"agent": agent, "file": str(path), **{key: added[key] for key in ("inbox_prefix", "nats_url")}})
        return
    _say(added, path)


def _say(added: dict[str, Any], path: Path) -> None:
    name, server = added["agent"]["name"], added["nats_url"].replace(" ", "")
    print(f"{path}: the credentials of {name} ({added['agent']['role']}), for its owner alone")
    print(f"It asks on machete.agent.v1.{name}.…, with the inbox prefix {added['inbox_prefix']}. An example:")
    print(f"  python examples/agents/restart_degraded.py {server} {name} {shlex.quote(str(path))}")


@app.command("list")
def list_agents(json: Json = False) -> None:
    """The agents that there are."""
    found = Api(place.find()).get(PATH)
    if json:
        print_json(found)
    elif not found["agents"]:
        note("no agents; `machete agent add NAME` lets one in")
    else:
        rows = ((each["name"], each["role"], ago(each["created_at"]), each["key"]) for each in found["agents"])
        table(("AGENT", "ROLE", "CREATED", "KEY"), rows)


@app.command()
def remove(name: Name, json: Json = False) -> None:
    """Let an agent in no more, and end its connections. What it asked for goes on."""
    Api(place.find()).delete(f"{PATH}/{quote(name, safe='')}")
    print_json({"removed": name}) if json else note(f"{name} is let in no more")


def _made(path: Path) -> TextIO:
    """A new file, for its owner alone. Raises `Ending`; what is there is never written over."""
    try:
        return private_files.new(path)
    except FileExistsError:
        raise Ending(USAGE, f"{path} is there already: name another file with --output", "file_exists") from None
    except OSError as error:
        raise Ending(USAGE, f"{path} cannot be written: {error.strerror}", "not_writable") from error
