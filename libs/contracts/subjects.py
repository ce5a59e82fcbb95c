"""Subjects are built and parsed here and nowhere else.

A `Subject` is a template such as `machete.cmd.v1.tool.{tool}.start`. Every field is one token of
`TOKEN` form, so no value can add a level or a wildcard.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from libs.contracts.names import TOKEN

_TOKEN = re.compile(TOKEN)


class BadSubject(ValueError):
    """A value that cannot stand in a subject, or a subject that is not of this form."""


@dataclass(frozen=True)
class Subject:
    template: str

    @cached_property
    def fields(self) -> tuple[str, ...]:
        return tuple(re.findall(r"\{(\w+)\}", self.template))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        literal = re.escape(self.template).replace(r"\{", "{").replace(r"\}", "}")
        return re.compile(re.sub(r"\{(\w+)\}", rf"(?P<\1>{TOKEN})", literal))

    def build(self, values: Mapping[str, object]) -> str:
        """The subject with every field filled in; raises `BadSubject` for a value that is no token."""
        filled = self.template
        for field in self.fields:
            value = str(values[field])
            if _TOKEN.fullmatch(value) is None:
                raise BadSubject(f"{value[:80]!r} cannot stand for {{{field}}} in {self.template}: a token is {TOKEN}")
            filled = filled.replace(f"{{{field}}}", value)
        return filled

    def parse(self, subject: str) -> dict[str, str]:
        """The fields of a subject of this form; raises `BadSubject` for any other."""
        found = self._pattern.fullmatch(subject)
        if found is None:
            raise BadSubject(f"{subject[:200]!r} is not of the form {self.template}")
        return found.groupdict()

    def takes(self, subject: str) -> bool:
        """Whether the subject is of this form."""
        return self._pattern.fullmatch(subject) is not None

    def filter(self, **known: str) -> str:
        """The subject to subscribe to: known fields filled in, every other one any token."""
        return ".".join(
            known.get(token[1:-1], "*") if token.startswith("{") else token for token in self.template.split(".")
        )


COMMAND = {
    action: Subject(f"machete.cmd.v1.tool.{{tool}}.{action}")
    for action in ("install", "build", "start", "stop", "restart", "uninstall")
}
RECORD = Subject("machete.evt.v1.tool.{tool}.operation.{operation}")
STEP = Subject("machete.evt.v1.tool.{tool}.step.{operation}")
TOOL_ENGINE = Subject("machete.evt.v1.tool.{tool}.engine")
ENGINE = Subject("machete.evt.v1.engine.{engine}")
STATE = Subject("machete.state.v1.tool.{tool}")
LOG = Subject("machete.log.v1.{tool}.{source}")
DEAD_LETTER = Subject("machete.dlq.v1.{stream}.{tool}")
TASK = {
    what: Subject(f"machete.task.v1.{what}.{{operation}}")
    for what in ("orchestrator.build", "orchestrator.start", "orchestrator.discard")
}
QUERY = Subject("machete.qry.v1.{service}.{question}")
AGENT = Subject("machete.agent.v1.{agent}.{noun}.{action}")


def lane(tool: str) -> str:
    """All commands of one tool: what the head check asks the stream for."""
    return COMMAND["start"].build({"tool": tool}).removesuffix("start") + ">"
