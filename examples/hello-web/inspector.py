"""What there is to say about one request, as data and as a page; nothing here touches the network or a disk."""

import base64
import html
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """One request as it arrived. `body` is text, or base64 where it is not UTF-8."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    body: str
    body_encoding: str
    body_is_cut: bool
    client: str


def inspect(
    method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes, *, cut: bool, client: str
) -> Request:
    parts = urlsplit(target)
    try:
        text, encoding = body.decode(), "utf-8"
    except UnicodeDecodeError:
        text, encoding = base64.b64encode(body).decode(), "base64"
    query = parse_qsl(parts.query, keep_blank_values=True)
    return Request(method, parts.path, query, list(headers), text, encoding, cut, client)


def as_json(request: Request, now: datetime, visits: int) -> dict[str, object]:
    return {"time": now.isoformat(timespec="milliseconds"), "visits": visits, "request": asdict(request)}


def as_page(request: Request, now: datetime, visits: int, greeting: str) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in request.headers
    )
    return PAGE.format(
        greeting=html.escape(greeting),
        ordinal=f"{visits:,}",
        time=now.strftime("%A, %d %B %Y, %H:%M:%S %Z"),
        line=html.escape(f"{request.method} {request.path}"),
        client=html.escape(request.client),
        rows=rows,
    )


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{greeting}</title>
<style>
  :root {{ color-scheme: light dark; --line: color-mix(in srgb, currentColor 15%, transparent); }}
  body {{ font: 1rem/1.55 system-ui, sans-serif; max-width: 46rem; margin: 8vh auto; padding: 0 1.2rem; }}
  h1 {{ font-size: 2.2rem; margin: 0; color: #2f7d5d; }}
  p {{ margin: .3rem 0 1.6rem; opacity: .8; }}
  table {{ border-collapse: collapse; width: 100%; font-size: .92rem; }}
  th, td {{ text-align: left; padding: .45rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }}
  th {{ white-space: nowrap; font-weight: 600; }}
  td, code {{ font-family: ui-monospace, monospace; overflow-wrap: anywhere; }}
</style>
<h1>{greeting}</h1>
<p>Visit number {ordinal}, on {time}.</p>
<p>You asked for <code>{line}</code> from <code>{client}</code>, and these headers came with it:</p>
<table>{rows}</table>
<p><br>Any other path answers as JSON, whatever the method: try <code>curl -d 'some=data' …/any/path</code></p>
</html>
"""
