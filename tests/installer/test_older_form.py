"""Tools of the older form, differently shaped as their authors wrote them: each is fetched and installs unchanged."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from libs.contracts.manifest import Volume
from services.installer.adapters.git import GitSources
from tests.installer.conftest import Lines, Publish

DOCKERFILE = b"ARG BASE_IMAGE=scratch\nFROM ${BASE_IMAGE}\nEXPOSE 3000\n"
MI = 1024**2


@dataclass(frozen=True)
class Older:
    """A manifest as it lies in a repository, what of it is to come out, and the notes there are on it."""

    file: str
    text: str | bytes
    expected: dict[str, Any]
    notes: tuple[str, ...] = field(default=())


def of_json(**manifest: Any) -> str:
    return json.dumps(manifest, indent=2)


FULL: dict[str, Any] = {
    "name": "log-viewer",
    "version": "2.1.0",
    "description": "Shows logs.\nLive.",
    "author": "Anna <anna@example.org>",
    "license": "Apache-2.0",
    "repository": "https://git.example.org/tools/log-viewer",
    "machete": {
        "version": ">=1.0.0",
        "category": "monitoring",
        "port": 8080,
        "health_check": "/health",
        "environment": ["NODE_ENV=production", "DSN=postgres://db/x?a=b", "EMPTY="],
        "volumes": ["./data:/app/data", "./config:/app/config:ro", "cache:/var/cache:rw"],
        "dependencies": ["postgresql", "redis"],
    },
    "config": {"timeout": 30, "nested": {"list": [1, "a", None, True, 1.5]}},
    "ui": {
        "icon": "🔧",
        "color": "#ff6b35",
        "routes": [{"path": "/", "title": "Dashboard", "description": "All"}, {"path": "/api/v1?x=1"}],
    },
    "resources": {"memory": "512Mi", "cpu": "500m"},
    "permissions": {"docker": False, "filesystem": {"read_only": True}},
    "setup": {"script": "./scripts/setup.sh", "config_files": ["config/default.json", "./config/other.yml"]},
}

OLDER = {
    "every key in JSON": Older(
        "tool.json",
        of_json(**FULL),
        {
            "name": "log-viewer",
            "version": "2.1.0",
            "category": "monitoring",
            "port": 8080,
            "health_check": "/health",
            "environment": {"NODE_ENV": "production", "DSN": "postgres://db/x?a=b", "EMPTY": ""},
            "volumes": (
                Volume(kind="path", source="data", target="/app/data"),
                Volume(kind="path", source="config", target="/app/config", read_only=True),
                Volume(kind="named", source="cache", target="/var/cache"),
            ),
            "dependencies": ("postgresql", "redis"),
            "resources.memory_bytes": 512 * MI,
            "resources.nano_cpus": 500_000_000,
            "permissions.filesystem.read_only": True,
            "setup.script": "scripts/setup.sh",
            "setup.config_files": ("config/default.json", "config/other.yml"),
            "config": FULL["config"],
        },
        ("machete.dependencies", "setup.script"),
    ),
    "the least there can be": Older(
        "tool.json", "{}", {"name": "tool", "port": 3000, "environment": {}}, ("Port 3000 is taken from Dockerfile",)
    ),
    "an environment as a mapping": Older(
        "machete.yml",
        "machete:\n  port: 80\n  environment:\n    NODE_ENV: production\n    WORKERS: 4\n    DEBUG: false\n"
        "    RATE: 1.50\n    ANSWER: yes\n    MODE: 0755\n    BARE:\n    UNSET: null\n"
        "    QUOTED: '  spaces '\n    DOLLAR: a$b${C}\n",
        {
            "environment": {
                "NODE_ENV": "production",
                "WORKERS": "4",
                "DEBUG": "false",
                "RATE": "1.50",
                "ANSWER": "yes",
                "MODE": "0755",
                "BARE": "",
                "QUOTED": "  spaces ",
                "DOLLAR": "a$b${C}",
            }
        },
    ),
    "an environment as a mapping in JSON": Older(
        "tool.json",
        of_json(machete={"port": 80, "environment": {"WORKERS": 4, "DEBUG": True, "RATIO": 0.25, "NONE": None}}),
        {"environment": {"WORKERS": "4", "DEBUG": "true", "RATIO": "0.25"}},
    ),
    "a version that is a number": Older(
        "machete.yml", "name: x\nversion: 1.10\nmachete: {version: 1.0, port: 80}\n", {"version": "1.10"}
    ),
    "a version that is a whole number in JSON": Older(
        "tool.json", '{"version": 3, "machete": {"version": 1, "port": 80}}', {"version": "3"}
    ),
    "a port as text": Older("tool.json", of_json(machete={"port": "8080"}), {"port": 8080}),
    "resources as bare numbers": Older(
        "machete.yml",
        "machete: {port: 80}\nresources: {memory: 268435456, cpu: 2}\n",
        {"resources.memory_bytes": 256 * MI, "resources.nano_cpus": 2 * 10**9},
    ),
    "resources in tens": Older(
        "tool.json",
        of_json(machete={"port": 80}, resources={"memory": "1.5G", "cpu": 0.25}),
        {"resources.memory_bytes": 1_500_000_000, "resources.nano_cpus": 250_000_000},
    ),
    "resources as Docker writes them": Older(
        "machete.yml",
        "machete: {port: 80}\nresources:\n  memory: 512m\n  cpu: '1.5'\n",
        {"resources.memory_bytes": 512 * MI, "resources.nano_cpus": 1_500_000_000},
        ('machete.yml:3: resources.memory: found "512m"; read as Docker does',),
    ),
    "other scripts than Latin": Older(
        "machete.yml",
        "name: Überwachung (測試)\nauthor: Žofie Nováková\ndescription: '監視ツール 🚀'\n"
        "machete: {port: 80, environment: {GREETING: 'Grüß Gott 👋'}}\n",
        {
            "name": "Überwachung (測試)",
            "author": "Žofie Nováková",
            "description": "監視ツール 🚀",
            "environment": {"GREETING": "Grüß Gott 👋"},
        },
    ),
    "escapes, a byte order mark and line ends of Windows": Older(
        "tool.json",
        b'\xef\xbb\xbf{\r\n\t"name": "caf\\u00e9",\r\n\t"machete": {"port": 80},\r\n'
        b'\t"ui": {"icon": "\\ud83d\\udd27"}\r\n}\r\n',
        {"name": "café", "ui.icon": "🔧"},
    ),
    "keys left empty": Older(
        "machete.yml",
        "name: x\nauthor:\nlicense: ~\nmachete:\n  port: 80\n  health_check:\n  environment:\n  volumes: []\n"
        "  dependencies:\nconfig:\nui:\nresources: {}\npermissions:\nsetup:\n",
        {"author": None, "health_check": None, "environment": {}, "volumes": (), "config": {}},
    ),
    "keys that nobody knows any more": Older(
        "tool.json",
        of_json(name="x", tags=["a"], machete={"port": 80, "autostart": True}, permissions={"network": True}),
        {"name": "x", "port": 80},
        ("tool.json:3: tags", "tool.json:8: machete.autostart", "tool.json:11: permissions.network"),
    ),
    "people and places as mappings": Older(
        "tool.json",
        of_json(name="x", author={"name": "A"}, repository={"type": "git", "url": "u"}, machete={"port": 80}),
        {"name": "x", "author": None, "repository": None},
        ("tool.json:3: author: ", "tool.json:6: repository: "),
    ),
    "a category of its own": Older(
        "machete.yml",
        "machete: {port: 80, category: Networking}\n",
        {"category": "other"},
        ('machete.yml:1: machete.category: found "Networking"',),
    ),
    "anchors and merged mappings": Older(
        "machete.yml",
        "x-common: &common {LOG: info}\nmachete:\n  port: 80\n  environment: {<<: *common, MORE: 1}\n",
        {"environment": {"LOG": "info", "MORE": "1"}},
    ),
    "switches as words": Older(
        "machete.yml",
        "machete: {port: 80}\npermissions: {docker: no, filesystem: {read_only: 'yes'}}\n",
        {"permissions.docker": False, "permissions.filesystem.read_only": True},
    ),
}


@pytest.mark.parametrize("older", OLDER.values(), ids=OLDER.keys())
async def test_a_tool_of_the_older_form_installs_unchanged(
    publish: Publish, sources: GitSources, log: Lines, older: Older
) -> None:
    text = older.text if isinstance(older.text, bytes) else older.text.encode()
    url = publish(files={"Dockerfile": DOCKERFILE, older.file: text})
    async with sources.fetch(url, log=log) as checkout:
        manifest = checkout.manifest
    assert {key: valued(manifest, key) for key in older.expected} == older.expected
    assert manifest.manifest_file == older.file
    (fetched,) = [number for number, line in enumerate(log.lines) if line.startswith("Fetched commit ")]
    notes = log.lines[fetched + 1 :]
    assert len(notes) == len(older.notes), notes
    assert [wanted for wanted in older.notes if not any(wanted in note for note in notes)] == []


def valued(manifest: object, key: str) -> object:
    for name in key.split("."):
        manifest = getattr(manifest, name)
    return manifest


async def test_the_newer_file_counts_where_both_lie_in_a_repository(publish: Publish, sources: GitSources) -> None:
    files = {"Dockerfile": DOCKERFILE, "tool.json": b'{"name": "old"}', "machete.yml": b"name: new\n"}
    async with sources.fetch(publish(files=files), log=Lines()) as checkout:
        assert checkout.manifest.name == "new"


async def test_a_tool_of_the_older_form_may_lie_in_a_folder(publish: Publish, sources: GitSources) -> None:
    files = {"tools/old/Dockerfile": DOCKERFILE, "tools/old/tool.json": b'{"name": "old"}'}
    async with sources.fetch(publish(files=files), subdir="tools/old", log=Lines()) as checkout:
        assert (checkout.manifest.name, checkout.manifest.port) == ("old", 3000)
