"""`machete dlq`: what could not be handled, kept with its reason until somebody retries or drops it."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from clients.cli import place
from clients.cli.api import Api
from clients.cli.output import ago, confirm, facts, note, print_json, safe, table

app = typer.Typer(help="Dead letters: what could not be handled.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Id = Annotated[str, typer.Argument(metavar="LETTER", help="Its id, dl-…")]
PATH = "/api/v1/dead-letters"


def path(id: str) -> str:
    return f"{PATH}/{quote(id, safe='')}"


@app.command("list")
def list_letters(
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most.")] = 20,
    after: Annotated[str | None, typer.Option(help="Only those that come after this letter.")] = None,
    json: Json = False,
) -> None:
    """Dead letters, the oldest first."""
    page = Api(place.find()).get(PATH, limit=limit, after=after)
    if json:
        return print_json(page)
    if not page["letters"]:
        return note("no dead letters: whatever came could be handled")
    rows = ((each["id"], each["tool"], ago(each["given_up_at"]), each["reason"]) for each in page["letters"])
    table(("LETTER", "TOOL", "SINCE", "REASON"), rows)
    if page["next"] is not None:
        note(f"there are more: `machete dlq list --after {page['next']}`")
    return None


@app.command()
def show(id: Id, json: Json = False) -> None:
    """One dead letter, with what the message said."""
    letter = Api(place.find()).get(path(id))
    print_json(letter) if json else _show(letter)


@app.command()
def drop(id: Id, yes: Yes = False, json: Json = False) -> None:
    """Throw a dead letter away. There is no way back."""
    api = Api(place.find())
    if not yes:
        found = api.get(path(id))  # nobody is asked about what is not there
        confirm(f"Drop {id} ({found['reason']})?", "drop it")
    api.delete(path(id))
    print_json({"dropped": id}) if json else note(f"{id} is dropped")


def _show(letter: dict[str, Any]) -> None:
    facts(
        [
            ("letter", letter["id"]),
            ("reason", letter["reason"]),
            ("tool", letter["tool"]),
            ("operation", letter["operation"]),
            ("came on", letter["subject"]),
            ("from", letter["stream"]),
            ("deliveries", letter["deliveries"]),
            ("given up", ago(letter["given_up_at"])),
            ("retry", letter["refusal"] or f"machete dlq retry {letter['id']}"),
        ]
    )
    print()
    print(safe(letter["payload"]), flush=True)
