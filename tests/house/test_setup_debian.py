"""Set-up on Debian: which sources it takes, and what it derives from them."""

from pathlib import Path

import pytest

from deploy.setup import debian
from deploy.setup.shell import SetupFailed

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MODERN = f"""\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: {KEYRING}

Types: deb deb-src
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: {KEYRING}
"""
OWN_RELEASE = debian.Source(("http://m.example/debian",), ("bookworm",), ("main",))


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_a_modern_sources_file_is_read_whole() -> None:
    first, second = debian.parse_deb822(MODERN)
    assert first.uris == ("http://mirror.example/debian",)
    assert first.suites == ("bookworm", "bookworm-updates", "bookworm-backports")
    assert first.options == {"Signed-By": KEYRING}
    assert second.suites == ("bookworm-security",)


def test_a_disabled_entry_does_not_count() -> None:
    assert debian.parse_deb822("Enabled: no\n" + MODERN.split("\n\n")[0]) == []


def test_what_is_written_is_read_as_the_same() -> None:
    sources = debian.parse_deb822(MODERN)
    assert debian.parse_deb822("\n".join(source.to_text() for source in sources)) == sources


def test_a_signing_key_written_into_the_entry_survives() -> None:
    inline = MODERN.split("\n\n")[0].replace(KEYRING, "\n -----BEGIN KEY-----\n .\n abc\n -----END KEY-----")
    (source,) = debian.parse_deb822(inline)
    assert debian.parse_deb822(source.to_text()) == [source]
    assert "\n .\n abc\n" in source.to_text()


def test_a_classic_sources_list_is_read() -> None:
    text = (
        "# deb http://old.example/debian bookworm main\n"
        "deb-src http://m.example/debian bookworm main\n"
        "deb http://m.example/debian bookworm main contrib # ours\n"
        f"deb [arch=amd64,arm64 signed-by={KEYRING}] http://m.example/debian bookworm-updates main\n"
    )
    plain, signed = debian.parse_classic(text)
    assert (plain.uris, plain.suites, plain.components) == (
        ("http://m.example/debian",),
        ("bookworm",),
        ("main", "contrib"),
    )
    assert signed.options == {"Architectures": "amd64 arm64", "Signed-By": KEYRING}


@pytest.mark.parametrize(
    "foreign",
    [
        debian.Source(("http://docker.example",), ("bookworm",), ("stable",)),
        debian.Source(("http://pg.example",), ("bookworm-pgdg",), ("main",)),
        debian.Source(
            ("http://node.example",), ("bookworm",), ("main",), {"Signed-By": "/usr/share/keyrings/node.gpg"}
        ),
        debian.Source(("http://m.example/debian",), ("trixie",), ("main",)),
    ],
    ids=lambda source: source.uris[0],
)
def test_an_entry_of_someone_else_is_not_taken_for_debians(foreign: debian.Source) -> None:
    assert debian.debian_sources([foreign, OWN_RELEASE]) == [OWN_RELEASE]


def test_only_the_suites_and_the_component_needed_are_taken() -> None:
    (first, _) = debian.debian_sources(debian.parse_deb822(MODERN))
    assert (first.suites, first.components) == (("bookworm", "bookworm-updates"), ("main",))


def test_the_next_release_comes_from_the_same_mirror() -> None:
    (first, second) = (debian.next_release(source) for source in debian.debian_sources(debian.parse_deb822(MODERN)))
    assert first.uris == ("http://mirror.example/debian",)
    assert first.suites == ("trixie", "trixie-updates")
    assert second.suites == ("trixie-security",)


def test_only_the_engine_may_come_from_the_next_release() -> None:
    everything, engine = debian.preferences().strip().split("\n\n")
    assert everything == "Package: *\nPin: release n=trixie*\nPin-Priority: -10"
    assert "docker.io" in engine
    assert "runc" not in engine
    assert engine.endswith("Pin-Priority: 600")


def test_both_forms_of_sources_are_found_on_a_machine(tmp_path: Path) -> None:
    write(tmp_path, "sources.list", "deb http://a.example/debian bookworm main\n")
    write(tmp_path, "sources.list.d/more.list", "deb http://b.example/debian bookworm-updates main\n")
    write(tmp_path, "sources.list.d/debian.sources", MODERN)
    write(tmp_path, "sources.list.d/broken.sources", "what is this?\n")
    write(tmp_path, "sources.list.d/off.list.disabled", "deb http://c.example/debian bookworm main\n")
    uris = [source.uris[0] for source in debian.machine_sources(tmp_path)]
    assert uris == [
        "http://a.example/debian",
        "http://b.example/debian",
        "http://mirror.example/debian",
        "http://mirror.example/debian-security",
    ]


def test_a_machine_without_debians_sources_is_told_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SetupFailed, match="add the mirror"):
        debian.machine_sources(tmp_path)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('ID=debian\nVERSION_ID="12"\n', True),
        ('ID=debian\nVERSION_ID="13"\n', False),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="12"\n', False),
    ],
)
def test_debian_12_is_told_from_others(tmp_path: Path, text: str, answer: bool) -> None:
    write(tmp_path, "os-release", text)
    assert debian.is_bookworm(tmp_path / "os-release") is answer
