"""The table of all settings, made from the settings themselves."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from libs.runtime.settings import FILE_NAME, Settings
from libs.runtime.variables import NOT_SETTINGS, variable

_HEAD = f"""# Settings

Set as environment variables, or as `NAME=value` lines in `<data>/{FILE_NAME}`; the environment wins.
Times are seconds. An unknown name is an error. An empty value counts as not set.
"""
_COLUMNS = "| variable | default | allowed | what it is |\n|---|---|---|---|\n"


def render_settings_reference(classes: Sequence[type[Settings]]) -> str:
    """Markdown: first what all services share, then what each one adds, then what other programs read."""
    parts = [_HEAD, "\n## Every service\n\n", _table(Settings, list(Settings.model_fields))]
    for each in classes:
        own = [name for name in each.model_fields if name not in Settings.model_fields]
        if own:
            parts += [f"\n## {_service(each)}\n\n", _table(each, own)]
    others = "".join(f"| `{name}` | {what} |\n" for name, what in NOT_SETTINGS.items())
    parts += ["\n## Read by other programs\n\n| variable | what it is |\n|---|---|\n", others]
    return "".join(parts)


def _service(cls: type[Settings]) -> str:
    parts = cls.__module__.split(".")
    return parts[-2] if len(parts) > 1 else cls.__name__


def _table(cls: type[Settings], names: Sequence[str]) -> str:
    schema = cast(Mapping[str, Mapping[str, Any]], cls.model_json_schema(mode="serialization")["properties"])
    return _COLUMNS + "".join(_row(name, cls.model_fields[name], schema[name]) for name in names)


def _row(name: str, field: FieldInfo, schema: Mapping[str, Any]) -> str:
    cells = [f"`{variable(name)}`", _default(field), _allowed(schema), field.description or ""]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _default(field: FieldInfo) -> str:
    extra = cast(Mapping[str, Any], field.json_schema_extra or {})
    value: Any = extra.get("shown", field.default)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, SecretStr):
        return "not shown"
    if isinstance(value, tuple):
        value = ",".join(cast(tuple[str, ...], value))
    if isinstance(value, dict):
        value = ",".join(f"{key}={part}" for key, part in cast(dict[str, str], value).items())
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`" if value not in (None, "") else ""


def _allowed(schema: Mapping[str, Any]) -> str:
    options = cast(Sequence[Mapping[str, Any]], schema.get("anyOf", [schema]))
    shape = next(each for each in options if each.get("type") != "null")
    if "enum" in shape:
        return ", ".join(f"`{value}`" for value in shape["enum"])
    kinds = {"integer": "whole number", "string": "text", "array": "a,b", "object": "NAME=value,…"}
    kind = str(shape.get("format") or kinds.get(shape["type"], shape["type"]))
    words = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    return ", ".join([kind, *(f"{sign} {shape[word]:g}" for word, sign in words.items() if word in shape)])
