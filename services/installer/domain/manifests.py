"""From the text of a manifest to a checked one."""

from libs.contracts.manifest_check import CheckedManifest, check_manifest
from libs.contracts.written import InvalidManifest, Written
from services.installer.domain.json_document import read_json
from services.installer.domain.limits import Budget, decoded
from services.installer.domain.yaml_document import read_yaml


def read_document(raw: bytes, file: str) -> Written:
    """JSON if the file's name ends in .json, YAML else. Raises `InvalidManifest`."""
    budget = Budget(file)
    text = decoded(raw, file)
    document = read_json(text, budget) if file.endswith(".json") else read_yaml(text, budget)
    if budget.faults:
        raise InvalidManifest(budget.faults)
    return document


def parse_manifest(raw: bytes, file: str, *, platform: str) -> CheckedManifest:
    """`file` is the name in messages, `platform` the version of this MACHETE. Raises `InvalidManifest`."""
    return check_manifest(read_document(raw, file), file, platform=platform)
