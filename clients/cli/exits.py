"""How the `machete` command ends. These numbers are part of its interface."""

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
REFUSED = 4
INTERRUPTED = 130

MEANINGS = """\
Exit codes: 0 done, 1 the operation failed or was cancelled, 2 wrong usage, 3 the platform cannot be reached,
4 the platform refused (not found, taken, not allowed), 130 interrupted; what was accepted then goes on.
"""


_USUAL = ("type", "title", "status", "detail", "instance", "code")


class Ending(Exception):
    """The command ends here, with this code and these words on stderr. `code_word` is for `--json`."""

    def __init__(self, exit_code: int, message: str, code_word: str = "", detail: object = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.message = message
        self.code_word = code_word
        self.detail = detail

    @property
    def more(self) -> dict[str, object]:
        """What the platform said beside the usual fields of a problem, such as `retry_after`."""
        said = self.detail if isinstance(self.detail, dict) else {}
        return {name: value for name, value in said.items() if name not in _USUAL}
