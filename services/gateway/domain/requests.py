"""A request to change a tool: what it comes to as a command, and by what it is known again."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from libs.contracts.names import TOOL_ID, new_operation_id
from libs.contracts.principals import Principal
from libs.contracts.releases import Source
from libs.contracts.source import Refused, check_git_url, check_ref, check_subdir, check_tool_name
from libs.contracts.tools import COMMAND_TYPES, ToolCommand

_ADDRESS = re.compile(r"://|:[^/]*@|@[^/]*:")


@dataclass(frozen=True)
class Request:
    """One request, checked. `key` is its Idempotency-Key; `options` are the command's own fields, as JSON has them.

    `tool` is the id of the tool that is meant, None for whichever has the name.
    """

    action: str
    name: str
    by: Principal
    key: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tool: str | None = None

    @cached_property
    def operation(self) -> str:
        """The same for the same principal and key; a new one each time without a key."""
        return new_operation_id(self.by.label, self.key)

    @cached_property
    def digest(self) -> str:
        """Equal for requests that ask for the same, however they were written."""
        asked = {"action": self.action, "name": self.name, **self.options}
        return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def command(self, tool: str) -> ToolCommand:
        return COMMAND_TYPES[self.action](
            tool=tool,
            tool_name=self.name,
            operation=self.operation,
            requested_by=self.by,
            digest=self.digest,
            **self.options,
        )


@dataclass(frozen=True)
class Wanted:
    """What an install asks for, unchecked."""

    git_url: str
    name: str | None = None
    ref: str | None = None
    subdir: str | None = None
    start: bool = False


def named(text: str) -> str:
    """The name or id of a tool that is asked for. Raises `Refused` for what is neither."""
    return text if re.fullmatch(TOOL_ID, text) else check_tool_name(text)


def install(by: Principal, key: str | None, wanted: Wanted, protocols: Iterable[str]) -> Request:
    """Raises `Refused` for an address, name, ref or folder that is not let in."""
    _check_places(wanted)
    address = check_git_url(wanted.git_url, protocols)
    name = address.default_name if wanted.name is None else check_tool_name(wanted.name)
    source = Source(
        git_url=address.value,
        ref=None if wanted.ref is None else check_ref(wanted.ref),
        subdir=None if wanted.subdir is None else check_subdir(wanted.subdir),
    )
    return Request("install", name, by, key, {"source": source.model_dump(), "start": wanted.start})


def _check_places(wanted: Wanted) -> None:
    """An address in the wrong field may hold credentials: it is neither let in, as a folder, nor repeated."""
    places = (("name", "tool_name_invalid"), ("ref", "git_ref_invalid"), ("subdir", "subdir_invalid"))
    for place, code in places:
        if _ADDRESS.search(getattr(wanted, place) or ""):
            raise Refused(code, f"{place} holds an address: that goes in git_url, without credentials.")


def change(action: str, name: str, by: Principal, key: str | None, **options: bool) -> Request:
    """Any request about a tool that is there. Raises `Refused` for what is no name."""
    return Request(action, check_tool_name(name), by, key, options)
