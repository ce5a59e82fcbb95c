"""Services that could not be told apart in lists and logs, where each container goes by one name."""

import re
from collections.abc import Iterator
from typing import Any

from libs.contracts.names import is_operation_id
from libs.contracts.written import Place, found_text
from services.orchestrator.domain import names
from services.orchestrator.domain.stacks.policy_counts import asked
from services.orchestrator.domain.stacks.policy_rules import Judged, Refusal, Rule, as_mapping, refusal

# As the second and later containers of a service are called; a new one gets a number that none had before.
_NUMBERED = re.compile(r"(.+)-([2-9]|[1-9][0-9]+)")


def _names(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
    services = as_mapping(value) or {}
    known: dict[str, str] = {}
    for name in services:
        token = names.token(name)
        if is_operation_id(token):
            yield refusal((*place, name), name, "this is how the log of an operation is called; call it otherwise")
        if (other := known.setdefault(token, name)) != name:
            shown = f"in lists and logs it is called {found_text(token)}, as {found_text(other)} is"
            yield refusal((*place, name), name, f"{shown}; call one of them otherwise")
    for name in services:
        numbered = _NUMBERED.fullmatch(names.token(name))
        other = known.get(numbered[1]) if numbered is not None else None
        if other is not None and asked(services[other]) > 1:
            rule = f"containers of {found_text(other)} after the first are called so too; call one of them otherwise"
            yield refusal((*place, name), name, rule)


ALL_NAMES: Rule = _names
