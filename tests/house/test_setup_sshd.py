"""The tests' SSH server: its program is brought, and no server of the system's comes along with it."""

import os
from pathlib import Path

import pytest

from deploy.setup import debian, sshd
from deploy.setup.shell import PersonNeeded


def test_the_program_is_found_although_it_lies_off_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert sshd.found() is not None


def test_the_package_starts_no_server_with_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What somebody set up already stays as it is."""
    (tmp_path / "ssh.socket").write_text("[Socket]\n")
    linked_when_installed: list[dict[str, bool]] = []

    def install(packages: tuple[str, ...]) -> None:
        assert packages == ("openssh-server",)
        linked_when_installed.append({name: (tmp_path / name).is_symlink() for name in sshd.SERVICES})

    monkeypatch.setattr(sshd, "UNITS", tmp_path)
    monkeypatch.setattr(sshd, "found", lambda: "/usr/sbin/sshd" if linked_when_installed else None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(debian, "is_bookworm", lambda: True)
    monkeypatch.setattr(debian, "ensure_packages", install)
    sshd.ensure()
    assert linked_when_installed == [{"ssh.service": True, "ssh.socket": False}]
    assert (tmp_path / "ssh.service").readlink() == Path("/dev/null")
    assert (tmp_path / "ssh.socket").read_text() == "[Socket]\n"


def test_somebody_without_the_rights_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sshd, "found", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PersonNeeded, match="openssh-server"):
        sshd.ensure()
