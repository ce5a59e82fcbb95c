"""Every message reads back what was written, also where a field has no value."""

import pytest

import libs.contracts.schemas
from libs.contracts.envelope import Message
from libs.contracts.schemas import SPEAKERS

assert libs.contracts.schemas


@pytest.mark.parametrize("kind", Message.registry.values(), ids=lambda kind: kind.__name__)
def test_a_field_that_may_be_none_may_be_left_out(kind: type[Message]):
    """Values that are None are not written, so a field that allows it must not be asked for."""
    nullable = [
        name for name, field in kind.model_fields.items() if type(None) in getattr(field.annotation, "__args__", ())
    ]
    assert [name for name in nullable if kind.model_fields[name].is_required()] == []


@pytest.mark.parametrize("kind", Message.registry.values(), ids=lambda kind: kind.__name__)
def test_every_message_says_what_it_is_and_who_speaks_it(kind: type[Message]):
    assert kind.__doc__
    assert kind in SPEAKERS
