"""A request to change a tool: what it comes to as a command, and by what it is known again."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from libs.contracts.names import TOOL_ID, new_operation_id
from libs.contracts.principals import Principal
from libs.contracts.releases import Source
from libs.contracts.source import Refused, check_git_url, check_ref, check_subdir, check_tool_name
from libs.contracts.tools import COMMAND_TYPES, InstallTool, ToolCommand

_ADDRESS = re.compile(r"://|:[^/]*@|@[^/]*:")


@dataclass(frozen=True)
class Retries:
    """A dead letter, by its id, and the operation that ended with it."""

    letter: str
    operation: str

    @staticmethod
    def digest(letter: str) -> str:
        """Known from the letter's id alone, so that a repetition is known again when the letter is gone."""
        return _digest({"action": "retry", "letter": letter})


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
    retries: Retries | None = None

    @cached_property
    def operation(self) -> str:
        """The same for the same principal and key; a new one each time without a key."""
        return new_operation_id(self.by.label, self.key)

    @cached_property
    def digest(self) -> str:
        """Equal for requests that ask for the same, however they were written."""
        if self.retries is not None:
            return Retries.digest(self.retries.letter)
        return _digest({"action": self.action, "name": self.name, **self.options})

    def command(self, tool: str) -> ToolCommand:
        return COMMAND_TYPES[self.action](
            tool=tool,
            tool_name=self.name,
            operation=self.operation,
            requested_by=self.by,
            digest=self.digest,
            retry_of=None if self.retries is None else self.retries.operation,
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


def retry(letter: str, command: ToolCommand, by: Principal, key: str, protocols: Iterable[str]) -> Request:
    """What a kept command asked for, asked for anew by somebody. Raises `Refused` for what is not let in (any more)."""
    if isinstance(command, InstallTool):
        source = command.source
        wanted = Wanted(source.git_url, command.tool_name, source.ref, source.subdir, command.start)
        request = install(by, key, wanted, protocols)
    else:
        own = type(command).model_fields.keys() - ToolCommand.model_fields.keys()
        options = {name: getattr(command, name) for name in own}
        request = replace(change(command.action, command.tool_name, by, key, **options), tool=command.tool)
    return replace(request, retries=Retries(letter, command.operation))


def _digest(asked: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
