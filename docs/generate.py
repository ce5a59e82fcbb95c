"""Writes the generated reference, or with `--check` says which files are not what the code says.

python -m docs.generate [--check]
"""

import json
import sys
from importlib import import_module
from pathlib import Path

from deploy.grafana import dashboard
from docs.errors import render_errors
from libs.contracts.schemas import asyncapi, json_schemas
from libs.runtime.metrics_reference import render_metrics_reference
from libs.runtime.settings_reference import render_settings_reference

DOCS = Path(__file__).parent


def documents() -> dict[Path, str]:
    """Every generated file and its text."""
    contracts = DOCS / "contracts"
    found = {contracts / "schemas" / name: _json(schema) for name, schema in json_schemas().items()}
    found[contracts / "asyncapi.json"] = _json(asyncapi())
    found[DOCS / "errors.md"] = render_errors()
    found[DOCS / "metrics.md"] = render_metrics_reference()
    found[DOCS.parent / "deploy" / "grafana" / "dashboards" / "machete.json"] = _json(dashboard.build())
    found[DOCS / "settings.md"] = render_settings_reference(
        [import_module(f"services.{folder.parent.name}.settings").Settings for folder in _settings()]
    )
    return found


def _settings() -> list[Path]:
    return sorted((DOCS.parent / "services").glob("*/settings.py"))


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    wanted = documents()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    known = set((DOCS / "contracts" / "schemas").glob("*.json"))
    superfluous = sorted(known - set(wanted))
    if "--check" in arguments:
        for path in (*stale, *superfluous):
            print(f"{path.relative_to(DOCS.parent)} is not what the code says; run: make generate")
        return 1 if stale or superfluous else 0
    for path in superfluous:
        path.unlink()
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
        print(f"wrote {path.relative_to(DOCS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
