"""Where the next page of a list begins, as a word that means nothing to anybody else."""

import base64
import binascii
import json


class BadCursor(ValueError):
    """A cursor that was not given out here; the text says what to do."""


def pack(value: object) -> str:
    text = json.dumps(value, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def unpack(cursor: str) -> object:
    """What was packed. Raises `BadCursor`; the caller checks that it is of the form it expects."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return json.loads(base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise BadCursor("this cursor was not given out here; leave it out to begin at the start") from None


def tool_cursor(name: str, id: str) -> str:
    return pack([name, id])


def tool_place(cursor: str | None) -> tuple[str, str]:
    """Name and id of the last tool of the page before."""
    if cursor is None:
        return "", ""
    match unpack(cursor):
        case [str(name), str(id)]:
            return name, id
        case _:
            raise BadCursor("this is no cursor of a list of tools; leave it out to begin at the start")


def operation_cursor(accepted: int) -> str:
    return pack(accepted)


def operation_place(cursor: str | None) -> int | None:
    """The sequence of the last operation of the page before."""
    if cursor is None:
        return None
    match unpack(cursor):
        case int(accepted):
            return accepted
        case _:
            raise BadCursor("this is no cursor of a list of operations; leave it out to begin at the start")
