"""`machete rebuild`: making anew what the platform keeps for looking at, from what it keeps for good."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import typer

from clients.cli import place
from clients.cli.api import Api
from clients.cli.exits import FAILED, INTERRUPTED, OK, UNREACHABLE, Ending
from clients.cli.output import console, note, print_json, safe

app = typer.Typer(help="Make anew what the platform shows.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait for the end of it.")]
LOOK = 0.3
# A platform that is started again goes on with it.
OUTAGE = 60.0


@app.callback()
def _() -> None:
    """Keeps `status` a command of its own, also while it is the only one."""


@app.command()
def status(no_wait: NoWait = False, json: Json = False) -> None:
    """Make the status tables anew, from the streams. Until they have caught up, the old ones are shown."""
    api = Api(place.find())
    rebuild = api.change("POST", "/api/v1/status/rebuild")
    if no_wait:
        print_json(rebuild) if json else print(safe(f"rebuild: {rebuild['id']}"), flush=True)
        return
    try:
        ended = _until_ended(api, rebuild, quiet=json)
    except KeyboardInterrupt:
        note(f"{rebuild['id']} goes on.")
        raise typer.Exit(INTERRUPTED) from None
    print_json(ended) if json else _show_end(ended)
    raise typer.Exit(OK if ended["state"] == "succeeded" else FAILED)


def _until_ended(api: Api, rebuild: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    shown = console()
    live = not quiet and shown.is_terminal
    status: Any = shown.status(_progress(rebuild)) if live else None
    with status if live else _nothing():
        while rebuild["state"] == "running":
            time.sleep(LOOK)
            rebuild = _next(api, rebuild)
            if live:
                status.update(_progress(rebuild))
    return rebuild


def _nothing() -> AbstractContextManager[None]:
    return nullcontext()


def _next(api: Api, rebuild: dict[str, Any]) -> dict[str, Any]:
    give_up, told = time.monotonic() + OUTAGE, False
    while True:
        try:
            return api.get(rebuild["links"]["self"])
        except Ending as problem:
            if problem.exit_code != UNREACHABLE or time.monotonic() > give_up:
                raise
            if not told:
                note(f"{problem.message} Waiting for it…")
                told = True
            time.sleep(LOOK)


def _progress(rebuild: dict[str, Any]) -> str:
    return f"rebuild: {rebuild['position']:,} of {rebuild['up_to']:,} events"


def _show_end(rebuild: dict[str, Any]) -> None:
    if rebuild["state"] != "succeeded":
        return note(f"the rebuild failed, and what was shown before still is: {rebuild['reason']}")
    rows = f"{rebuild['tools']:,} tools, {rebuild['operations']:,} operations"
    print(safe(f"rebuilt from {rebuild['position'] - rebuild['forgotten']:,} events: {rows}"), flush=True)
    if rebuild["differed"]:
        print(f"{rebuild['differed']:,} rows were missing or wrong, and are right now", flush=True)
    if rebuild["forgotten"]:
        print(
            f"the oldest {rebuild['forgotten']:,} events are not kept any more: every tool has its state, operations "
            f"from then are gone ({rebuild['dropped']:,} rows)",
            flush=True,
        )
    return None
