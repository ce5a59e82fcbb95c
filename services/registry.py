"""Which services there are, and how they are put together: the folder is the registry.

A service is a folder here with an `app.py` that has `build(settings) -> Service`, and a `settings.py`
with its `Settings`. Only those that are named are imported; of the others, their settings alone.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from libs.runtime.service import Service
from libs.runtime.settings import Settings


class UnknownService(ValueError):
    """A name that no folder here has; the text lists those that there are."""


def known() -> list[str]:
    return sorted(found.parent.name for found in Path(__file__).parent.glob("*/app.py"))


def settings_class(name: str) -> type[Settings]:
    return import_module(f"services.{name}.settings").Settings


def settings_classes() -> list[type[Settings]]:
    return [settings_class(name) for name in known()]


def shared_settings(**given: Any) -> Settings:
    """What all services have in common; `given` wins over environment and file. Raises `SettingsError`."""
    return Settings.load(settings_classes(), **given)


def assemble(names: Sequence[str], **given: Any) -> list[Service]:
    """The named services, wired and not yet started, in that order; `given` holds for each of them.

    Raises `UnknownService` and `SettingsError`.
    """
    there = known()
    for name in names:
        if name not in there:
            raise UnknownService(f"there is no service {name!r}; there are {', '.join(there)}")
    classes = settings_classes()
    return [import_module(f"services.{name}.app").build(settings_class(name).load(classes, **given)) for name in names]
