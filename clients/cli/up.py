"""`machete up`: the whole platform in this process, until it is told to stop.

Its own small parser, and nothing of the other commands: what they need would stay in memory for as long as
the platform runs.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from libs.runtime.settings import Settings
    from services.whole import Running

BROKE, REFUSED = 1, 2
EPILOG = """\
Everything else is a setting: MACHETE_... in the environment, or in DIR/machete.env.
Ends with 0 when it was told to stop, 1 when something broke, 2 when it cannot start like this.
"""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="machete up",
        description="Start the platform here: all services, with a NATS server of their own. Ctrl-C stops it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", help="keep everything in this folder (default: MACHETE_DATA)")
    parser.add_argument("--port", type=int, help="listen on this port; 0 takes any free one (default: 8080)")
    parser.add_argument("--host", help="listen on this address (default: 127.0.0.1, this machine alone)")
    parser.add_argument("--json", action="store_true", help="say where it is as one JSON object")
    return parser


def main(arguments: Sequence[str]) -> int:
    chosen = {name: value for name, value in vars(parser().parse_args(arguments)).items() if value is not None}
    say = _say_json if chosen.pop("json") else _say
    # Nothing is thrown away while all is imported; `serve()` lets the collector work once everything stands.
    gc.disable()
    # structlog would load it for tracebacks that nobody sees here: a tenth of a second, and three megabytes.
    sys.modules.setdefault("rich", None)  # pyright: ignore[reportArgumentType]
    import asyncio

    import uvloop

    from libs.runtime import logging
    from libs.runtime.variables import SettingsError
    from services import whole

    try:
        settings = _settings(chosen)
        logging.configure(settings.log_level, _log_format(settings))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(whole.run(settings, say))
    except SettingsError as error:
        return _refused(error)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return _explained(error)
    return 0


def _settings(chosen: dict[str, Any]) -> Settings:
    from services import registry, whole

    settings = registry.shared_settings(**chosen)
    whole.refuse_other_nats(settings)
    return settings


def _log_format(settings: Settings) -> Any:
    """For people where they look on, unless somebody chose."""
    people = sys.stderr.isatty() and "log_format" not in settings.model_fields_set
    return "console" if people else settings.log_format


def _explained(error: Exception) -> int:
    """What is expected to keep a platform from running is said in a sentence; anything else shows where it happened."""
    from libs.runtime.datalock import DataHeld
    from libs.runtime.embedded import NatsFailed
    from libs.runtime.http.server import PortTaken
    from libs.runtime.nats_binary import NoNatsServer
    from libs.runtime.nats_credentials import BadCredentials
    from libs.runtime.service import ServiceBroke
    from services.gateway.adapters.token_file import BadToken

    if isinstance(error, BadToken | DataHeld | NatsFailed | PortTaken | NoNatsServer | BadCredentials):
        return _refused(error)
    if isinstance(error, ServiceBroke):
        print(f"machete up: {error}", file=sys.stderr)
        return BROKE
    raise error


def _refused(error: Exception) -> int:
    print(f"machete up: {error}", file=sys.stderr)
    return REFUSED


def _say(running: Running) -> None:
    from libs.runtime.variables import default_data
    from libs.runtime.version import VERSION

    token = running.data / "admin.token"
    # Whoever set MACHETE_DATA did so in this shell, and other commands are for another one.
    found = "by itself" if running.data == default_data() else f"after  export MACHETE_DATA={running.data}"
    lines = [
        "",
        f"MACHETE {VERSION} is up at {running.url}",
        "",
        f"  token   {token}{'  (made just now, for you alone)' if running.first else ''}",
        f"          The machete command finds it {found}. For anything else:",
        f'          curl -H "Authorization: Bearer $(cat {token})" {running.url}/api/v1/tools',
        f"  docs    {running.url}/api/docs  (any user; the token is the password)",
        f"  data    {running.data}",
        f"  nats    {running.nats}  (server {running.nats_version})",
        "",
        "  Next:   machete install URL --start        Ctrl-C stops the platform.",
        "",
    ]
    print("\n".join(lines), flush=True)


def _say_json(running: Running) -> None:
    import json

    token = str(running.data / "admin.token")
    print(
        json.dumps({"url": running.url, "data": str(running.data), "token_file": token, "nats": running.nats}),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
