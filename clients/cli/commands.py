"""All commands but `up`: each asks the platform over HTTP, waits where that is wanted, and shows what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from clients.cli import agents, letters, place, rebuild
from clients.cli.api import Api
from clients.cli.exits import INTERRUPTED, MEANINGS, Ending
from clients.cli.moments import moment
from clients.cli.output import confirm, note, print_json
from clients.cli.waiting import Watcher, exit_code, goes_on

app = typer.Typer(
    name="machete",
    help="Tools from Git, run here: install, start, watch, remove.",
    epilog=MEANINGS.replace("\n", " "),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(agents.app, name="agent")
app.add_typer(rebuild.app, name="rebuild")
app.add_typer(letters.app, name="dlq")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait for the end of it.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The tool's name.")]
Now = Annotated[bool, typer.Option("--now", help="Cancel what runs and what waits for this tool first.")]


def run(arguments: Sequence[str]) -> None:
    """Ends the process, with one of the codes in `exits`."""
    try:
        app(list(arguments), prog_name="machete")
    except Ending as ending:
        if "--json" in arguments:
            print_json({"error": {**ending.more, "code": ending.code_word, "message": ending.message}})
        note(f"machete: {ending.message}")
        sys.exit(ending.exit_code)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def up(context: typer.Context) -> None:
    """Start the platform here. `machete up --help` says more."""
    from clients.cli import up as platform

    raise typer.Exit(platform.main(context.args))


@app.command()
def install(
    url: Annotated[str, typer.Argument(metavar="URL", help="The tool's Git repository.")],
    name: Annotated[str | None, typer.Option(help="Its name here; else the last part of the URL.")] = None,
    ref: Annotated[str | None, typer.Option(help="A branch, tag or commit; else the default branch.")] = None,
    subdir: Annotated[str | None, typer.Option(help="The folder that holds the manifest; else the root.")] = None,
    start: Annotated[bool, typer.Option("--start", help="Start it once it is built.")] = False,
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Install a tool: fetch it, build it and, with --start, run it."""
    body = {"git_url": url, "name": name, "ref": ref, "subdir": subdir, "start": start}
    wanted = {key: value for key, value in body.items() if value is not None}
    _change(lambda api: api.change("POST", "/api/v1/tools", wanted), no_wait, json)


@app.command()
def build(name: Name, no_wait: NoWait = False, json: Json = False) -> None:
    """Build a tool's images again, from the release that it has. What runs goes on running."""
    _change(lambda api: api.change("POST", f"{_tool(name)}/build"), no_wait, json)


@app.command()
def start(name: Name, no_wait: NoWait = False, json: Json = False) -> None:
    """Run a tool, and wait until it is ready."""
    _change(lambda api: api.change("POST", f"{_tool(name)}/start"), no_wait, json)


@app.command()
def stop(name: Name, now: Now = False, no_wait: NoWait = False, json: Json = False) -> None:
    """Stop a tool."""
    _change(lambda api: api.change("POST", f"{_tool(name)}/stop", now=now), no_wait, json)


@app.command()
def restart(name: Name, no_wait: NoWait = False, json: Json = False) -> None:
    """Stop a tool and start it again."""
    _change(lambda api: api.change("POST", f"{_tool(name)}/restart"), no_wait, json)


@app.command()
def uninstall(
    name: Name,
    now: Now = False,
    data: Annotated[bool, typer.Option("--data", help="Remove its data too. There is no way back.")] = False,
    yes: letters.Yes = False,
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Remove a tool and all that is its own; its data only with --data."""
    if not yes:
        _api().get(_tool(name))  # nobody is asked about what is not there
        kept = " and remove its data for good?" if data else "? Its data is kept."
        confirm(f"Uninstall {name}{kept}", "uninstall")
    _change(lambda api: api.change("DELETE", _tool(name), now=now, data=data), no_wait, json)


@app.command()
def cancel(
    operation: Annotated[str, typer.Argument(metavar="OPERATION", help="Its id, op-…")],
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Ask an operation to end; what it began is undone."""
    _change(lambda api: api.change("POST", f"{_operation(operation)}/cancel"), no_wait, json, wanted="cancelled")


@letters.app.command("retry")
def retry_letter(id: letters.Id, no_wait: NoWait = False, json: Json = False) -> None:
    """Ask for the same once more, as an operation of your own. The letter leaves the list."""
    _change(lambda api: api.change("POST", f"{letters.path(id)}/retry"), no_wait, json)


@app.command("list")
def list_tools(json: Json = False) -> None:
    """All tools, and how they are."""
    from clients.cli.views import show_tools

    tools = _all(_api(), "/api/v1/tools", "tools")
    print_json({"tools": tools}) if json else show_tools(tools)


@app.command()
def show(
    what: Annotated[str, typer.Argument(metavar="NAME", help="A tool's name, or an operation's id.")],
    json: Json = False,
) -> None:
    """One tool, or one operation, whole."""
    from clients.cli import views

    if _is_operation(what):
        found, shown = _api().get(_operation(what)), views.show_operation
    else:
        found, shown = _api().get(_tool(what)), views.show_tool
    print_json(found) if json else shown(found)


@app.command()
def logs(
    what: Annotated[str, typer.Argument(metavar="NAME", help="A tool's name, or an operation's id.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    tail: Annotated[int | None, typer.Option(min=0, max=10_000, help="Only so many of the last lines.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="Only what was printed then or later: 10m, 2h, or a time."),
    ] = None,
    service: Annotated[str | None, typer.Option(help="Only what this service of a stack prints.")] = None,
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="With the time of each line, in UTC.")] = False,
    json: Json = False,
) -> None:
    """What a tool prints, or what an operation printed. With --json, one object a line.

    What is followed goes on after the platform was away, behind the line that came last, until the operation has ended
    or the tool is uninstalled.
    """
    from clients.cli.following import followed, is_gone
    from clients.cli.views import printed_since, show_lines
    from clients.cli.waiting import ENDED

    api = _api()
    if _is_operation(what):
        over = lambda: api.get(_operation(what))["state"] in ENDED  # noqa: E731
        path = f"{_operation(what)}/log"
        lines = printed_since(followed(api, path, over) if follow else api.lines(path), since)
        return show_lines(lines, tail, json=json, timestamps=timestamps)
    services, tool = list[str](), what
    if follow or (not json and service is None):
        found = api.get(_tool(what))
        services = [each["name"] for each in found["services"]] if found["kind"] == "stack" else []
        tool = found["id"]  # one that is installed under its name later on is another
    path, query = f"{_tool(tool)}/logs", {"tail": tail, "service": service, "since": since and since.isoformat()}
    gone = lambda: is_gone(api, _tool(tool), what)  # noqa: E731
    lines = followed(api, path, gone, **query) if follow else api.lines(path, **query)
    show_lines(lines, None, services=[] if json or service else services, json=json, timestamps=timestamps)


@app.command()
def operations(
    tool: Annotated[str | None, typer.Option(help="Only those of this tool.")] = None,
    state: Annotated[
        str | None, typer.Option(help="Only those that are accepted, running, succeeded, failed or cancelled.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most.")] = 20,
    after: Annotated[str | None, typer.Option(help="Go on where a page ended; it says how.")] = None,
    json: Json = False,
) -> None:
    """Operations, the newest first."""
    from clients.cli.views import show_operations

    page = _api().get("/api/v1/operations", tool=tool, state=state, limit=limit, after=after)
    print_json(page) if json else show_operations(page)


@app.command()
def doctor(json: Json = False) -> None:
    """What is missing on this machine, and how to get it."""
    from clients.cli import doctor as examination

    raise typer.Exit(examination.run(json=json))


@app.command()
def version(json: Json = False) -> None:
    """The version of this command, and of the platform if one is up."""
    from clients.cli.views import show_version

    show_version(json=json)


def _change(ask: Callable[[Api], dict[str, Any]], no_wait: bool, json: bool, wanted: str = "succeeded") -> None:
    """Asks for a change and, unless told otherwise, shows it until it has ended as `wanted`, or otherwise."""
    from clients.cli import views

    api = _api()
    accepted = ask(api)
    operation: dict[str, Any] = accepted["operation"]
    if no_wait:
        print_json(accepted) if json else views.show_accepted(accepted)
        return
    try:
        if not json:
            views.show_accepted(accepted)
        watcher = Watcher(api, operation, quiet=json)
        ended = watcher.until_ended()
    except KeyboardInterrupt:
        note(goes_on(operation))
        raise typer.Exit(INTERRUPTED) from None
    print_json(ended) if json else views.show_end(api, ended, wanted, watcher.transcript)
    raise typer.Exit(exit_code(ended) if wanted == "succeeded" else int(ended["state"] != wanted))


def _api() -> Api:
    return Api(place.find())


def _all(api: Api, path: str, what: str) -> list[dict[str, Any]]:
    """Every page of a list."""
    found: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = api.get(path, after=after)
        found += page[what]
        after = page.get("next")
        if after is None:
            return found


def _tool(name: str) -> str:
    return f"/api/v1/tools/{quote(name, safe='')}"


def _operation(id: str) -> str:
    return f"/api/v1/operations/{quote(id, safe='')}"


def _is_operation(what: str) -> bool:
    from libs.contracts.names import is_operation_id

    return is_operation_id(what)
