"""A first look at a Compose file, so that one that cannot be read is told before anything else is done with it.

What it means is decided by Compose itself, when the stack is built.
"""

import yaml

from libs.contracts.written import Fault, InvalidManifest
from services.installer.domain.limits import decoded

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_compose(raw: bytes, file: str) -> None:
    """Raises `InvalidManifest`, with the code `compose_invalid`, for what is no YAML or no mapping."""
    try:
        text = decoded(raw, file)
        first = _first_node(text)
    except InvalidManifest as invalid:
        raise InvalidManifest(invalid.faults, code="compose_invalid") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _invalid(file, line, f"this is no YAML: {error.problem or 'it cannot be read'}") from None
    except yaml.YAMLError as error:
        raise _invalid(file, None, f"this is no YAML: {error}") from None
    if not isinstance(first, yaml.MappingStartEvent):
        raise _invalid(file, 1, "a Compose file is a mapping with the key services")


def _first_node(text: str) -> yaml.Event | None:
    """Every event is read, none is built into anything: an alias costs nothing here."""
    nodes = (yaml.MappingStartEvent, yaml.SequenceStartEvent, yaml.ScalarEvent, yaml.AliasEvent)
    events = yaml.parse(text, Loader=_LOADER)
    found = [event for event in events if isinstance(event, nodes)]
    return found[0] if found else None


def _invalid(file: str, line: int | None, rule: str) -> InvalidManifest:
    return InvalidManifest([Fault(file, line, "", None, rule)], code="compose_invalid")
