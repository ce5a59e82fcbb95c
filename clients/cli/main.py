"""Where the `machete` command begins."""

import sys


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["up"]:
        from clients.cli import up

        sys.exit(up.main(arguments[1:]))
    from clients.cli import commands

    commands.run(arguments)
