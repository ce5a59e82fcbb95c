"""`python -m services gateway status`: some services, or all, in one process until it is told to stop."""

import sys
from collections.abc import Sequence

from libs.runtime import logging
from libs.runtime.service import PortTaken, ServiceBroke, run, serve
from libs.runtime.settings import SettingsError
from services import registry


def main(arguments: Sequence[str]) -> int:
    """0 after a stop that was asked for, 1 when something broke, 2 when it was called or set up wrongly."""
    if not arguments or any(each.startswith("-") for each in arguments):
        print(f"usage: python -m services NAME...\nservices: {', '.join(registry.known())}", file=sys.stderr)
        return 0 if set(arguments) & {"-h", "--help"} else 2
    try:
        settings = registry.shared_settings()
        logging.configure(settings.log_level, settings.log_format)
        run(serve(registry.assemble(arguments), settings))
    except (SettingsError, registry.UnknownService, PortTaken) as error:
        print(error, file=sys.stderr)
        return 2
    except ServiceBroke:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
