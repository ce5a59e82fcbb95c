"""How tools, operations and their logs look to people."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from clients.cli.api import Api
from clients.cli.exits import Ending
from clients.cli.output import ago, console, facts, note, print_json, print_json_line, safe, table

if TYPE_CHECKING:
    from clients.cli.transcript import Transcript

MOST_OF_A_LOG = 20
MOST_NAMED = 3
COLORS = ("cyan", "yellow", "green", "magenta", "blue", "red")


def show_tools(tools: list[dict[str, Any]]) -> None:
    if not tools:
        note("no tools yet; `machete install URL --start` brings one")
        return
    table(
        ("NAME", "STATE", "VERSION", "SINCE", "ADDRESS"),
        ((each["name"], each["state"], _version(each), ago(each["since"]), " ".join(each["urls"])) for each in tools),
    )
    if unwell := [each for each in tools if each["reason"]]:
        print()
        for each in unwell:
            print(safe(f"{each['name']}: {each['reason']}"))


def show_tool(tool: dict[str, Any]) -> None:
    source = tool["source"]
    release = tool["release"] or {}
    facts(
        [
            ("name", tool["name"]),
            ("kind", tool["kind"]),
            ("state", tool["state"]),
            ("reason", tool["reason"]),
            ("since", ago(tool["since"])),
            ("address", " ".join(tool["urls"])),
            ("description", tool["description"]),
            ("version", _version(tool)),
            ("commit", release.get("commit")),
            ("release", release.get("id")),
            ("from", source["git_url"]),
            ("ref", source["ref"]),
            ("folder", source["subdir"]),
            ("id", tool["id"]),
            ("engine", tool["engine"]),
            ("working on it", tool["operation"]),
        ]
    )
    if tool["services"]:
        print()
        _show_services(tool["services"])


def _show_services(services: list[dict[str, Any]]) -> None:
    """Health is what the engine says of those that have a health check of its kind; often none has."""
    rows = [(each["name"], _service_state(each), _health(each)) for each in services]
    if any(health for *_, health in rows):
        table(("SERVICE", "STATE", "HEALTH"), rows)
    else:
        table(("SERVICE", "STATE"), (row[:2] for row in rows))


def show_operations(page: dict[str, Any]) -> None:
    operations = page["operations"]
    if not operations:
        note("no operations")
        return
    table(
        ("OPERATION", "KIND", "TOOL", "STATE", "CREATED", "ASKED BY"),
        (
            (each["id"], each["kind"], each["tool_name"], each["state"], ago(each["created_at"]), each["requested_by"])
            for each in operations
        ),
    )
    if page["next"] is not None:
        note(f"there are more: add --after {page['next']}")


def show_operation(operation: dict[str, Any]) -> None:
    facts(
        [
            ("operation", operation["id"]),
            ("kind", operation["kind"]),
            ("tool", f"{operation['tool_name']} ({operation['tool']})"),
            ("state", operation["state"]),
            ("cancel", "asked for" if operation["cancel_requested"] and not operation["ended_at"] else None),
            ("error", _said(operation["error"])),
            ("asked by", operation["requested_by"]),
            ("again for", operation.get("retry_of")),
            ("created", ago(operation["created_at"])),
            ("ended", ago(operation["ended_at"])),
        ]
    )
    if operation["steps"]:
        print()
        table(
            ("STEP", "STATE", "STARTED", "ENDED"),
            (
                (each["name"], each["state"], ago(each["started_at"]), ago(each["ended_at"]))
                for each in operation["steps"]
            ),
        )


def show_accepted(accepted: dict[str, Any]) -> None:
    operation = accepted["operation"]
    print(safe(f"{operation['kind']} {operation['tool_name']}: {operation['id']}"), flush=True)
    waiting = list(accepted.get("waiting_for") or ())
    if waiting:
        more = " and others" if len(waiting) > MOST_NAMED else ""
        print(safe(f"waits for {', '.join(waiting[:MOST_NAMED])}{more}"), flush=True)


def show_end(api: Api, operation: dict[str, Any], wanted: str, transcript: Transcript) -> None:
    """How it ended: where the tool answers now, or what went wrong, as far as it was not shown before."""
    from rich.text import Text

    kind, name, state = operation["kind"], operation["tool_name"], operation["state"]
    style = "green" if state == wanted else "red" if state == "failed" else "yellow"
    console().print(Text(safe(f"{kind} {name}: {state}"), style=style), soft_wrap=True)
    if state == "succeeded" and kind in ("install", "start", "restart"):
        _show_address(api, operation)
    if operation["error"] and state != wanted:
        _show_error(operation["error"], transcript)


def _show_address(api: Api, operation: dict[str, Any]) -> None:
    try:
        tool = api.get(operation["links"]["tool"])
    except Ending:
        return  # it may be gone already; the operation itself ended well
    if tool["urls"] and tool["state"] != "stopped":
        print(safe(f"{tool['name']} answers at {' '.join(tool['urls'])}"), flush=True)
    elif tool["state"] == "stopped":
        print(safe(f"{tool['name']} is installed; `machete start {tool['name']}` runs it"), flush=True)


def _show_error(error: dict[str, Any], transcript: Transcript) -> None:
    """Single faults go instead of the sentence that has the first of them."""
    detail = error.get("detail") or {}
    faults, log = (_lines(detail.get(name)) for name in ("faults", "log"))
    if faults and error["message"].startswith(faults[0]):
        note(f"{error['code']}: {faults.pop(0)}")
    else:
        note(_said(error))
    for line in faults if transcript.has_told(log) else [*faults, *log[-MOST_OF_A_LOG:]]:
        note(f"  {line}")


def _lines(found: Any) -> list[str]:
    """What a failure's detail has under a name, unless it is no list of lines."""
    return [str(line) for line in cast("list[Any]", found)] if isinstance(found, list) else []


def printed_since(lines: Iterator[dict[str, Any]], moment: datetime | None) -> Iterator[dict[str, Any]]:
    return (line for line in lines if moment is None or datetime.fromisoformat(line["time"]) >= moment)


def show_lines(
    lines: Iterator[dict[str, Any]],
    tail: int | None,
    *,
    services: Sequence[str] = (),
    json: bool,
    timestamps: bool = False,
) -> None:
    """`tail`: only so many of the last, where the platform was not asked for that. `services` are told apart."""
    chosen: Iterable[dict[str, Any]] = lines if tail is None else deque(lines, maxlen=tail)
    width = max((len(name) for name in services), default=0)
    for line in chosen:
        if json:
            print_json_line(line)
            continue
        said = f"{line['time']} {line['text']}" if timestamps else line["text"]
        if services:
            _print_of_service(line["service"], said, services, width)
        else:
            print(safe(said), flush=True)


def _print_of_service(name: str, said: str, services: Sequence[str], width: int) -> None:
    from rich.text import Text

    color = COLORS[services.index(name) % len(COLORS)] if name in services else "white"
    text = Text(f"{safe(name):<{width}} | ", style=color)
    console().print(text.append(safe(said), style="default"), soft_wrap=True)


def show_version(*, json: bool) -> None:
    from libs.runtime.version import VERSION

    platform, url = _platform()
    if json:
        print_json({"machete": VERSION, "platform": platform, "url": url})
        return
    print(f"machete {VERSION}")
    if platform is not None:
        print(safe(f"platform {platform} at {url}"))


def _platform() -> tuple[str | None, str | None]:
    """Version and address of the platform, if one is up. Health is open to everyone."""
    from clients.cli import place

    url = place.named_url() or place.local_url()
    if url is None:
        return None, None
    try:
        return str(Api(place.Place(url, "")).get("/api/health", patience=5).get("version")), url
    except Ending:
        return None, url


def _service_state(service: dict[str, Any]) -> str:
    code = service["exit_code"]
    if service.get("job") and code == 0:
        return "done"
    return f"{service['state']} ({code})" if code is not None else str(service["state"])


def _health(service: dict[str, Any]) -> str:
    """A service without a health check of its own says nothing of it."""
    return "" if service["health"] == "none" else str(service["health"])


def _version(tool: dict[str, Any]) -> str:
    return str(tool["release"]["version"]) if tool["release"] else ""


def _said(error: dict[str, Any] | None) -> str:
    return f"{error['code']}: {error['message']}" if error else ""
