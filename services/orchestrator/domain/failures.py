"""What can go wrong between the orchestrator and an engine, each as a user will read it."""

from collections.abc import Sequence
from typing import Any

from libs.contracts.problems import Failure

_PORT_WORDS = ("port is already allocated", "address already in use", "ports are not available", "failed to bind")
_NO_ROOM = ("no space left on device", "disk quota exceeded")
# Of engines up to 26, and of later ones.
_NO_ADDRESSES = (("available", "address pool"), ("predefined address pools", "fully subnetted"))


class EngineError(Failure):
    """The engine answered, and refused. `status` is its HTTP status."""

    def __init__(
        self, code: str, message: str, detail: dict[str, Any] | None = None, status: int | None = None
    ) -> None:
        super().__init__(code, message, detail)
        self.status = status


def is_about_port(refusal: EngineError) -> bool:
    """Whether the engine could not give a container its port of the host."""
    return any(words in refusal.message for words in _PORT_WORDS)


def is_about_room(said: str) -> bool:
    """Whether the engine, or a program that speaks with it, ended because it could not write any more."""
    return said.rstrip(". ").lower().endswith(_NO_ROOM)


def disk_full_sentence(said: str = "") -> str:
    full = (
        f"A disk of this machine is full, {said.rstrip('. ')}" if said else "The disk with the tools' folders is full"
    )
    return f"{full}: free some space, or uninstall a tool, and try again."


def is_out_of_addresses(refusal: EngineError) -> bool:
    """Whether the engine had no addresses left for a network. It has none of IPv6 to begin with, which is no want."""
    return "IPv6" not in refusal.message and any(
        all(word in refusal.message for word in words) for words in _NO_ADDRESSES
    )


def is_about_overlap(refusal: EngineError) -> bool:
    """Whether the addresses that a network was to have are in use."""
    return "overlap" in refusal.message


def no_addresses(pool: str, networks: int, said: str) -> EngineError:
    """`networks` are those that the engine has, whoever made them; `said` is its word on the last slice of `pool`."""
    message = (
        f"The engine has {networks} networks and no addresses left for another one, and {pool} none either: uninstall "
        "a tool, or remove networks that nobody uses (`docker network prune`)."
    )
    return EngineError("no_addresses", message, {"networks": networks, "engine": said})


class EngineAway(Failure):
    """The engine does not answer, or stopped answering half way: nothing is known of what it did."""

    def __init__(self, message: str) -> None:
        super().__init__("engine_away", message)


class BuildFailed(Failure):
    """The build ran and ended badly; `detail["log"]` are its last lines."""

    def __init__(self, message: str, log: list[str]) -> None:
        super().__init__("build_failed", message, {"log": log})


class PortTaken(EngineError):
    """`detail`: `port`, `holder` (a container's name, or None where it is another process), `free`."""

    def __init__(self, port: int, holder: str | None, free: int) -> None:
        who = f"the container {holder}" if holder else "another process on this machine"
        super().__init__(
            "port_taken",
            f"Port {port} on 127.0.0.1 is taken by {who}: free it, or use {free}, which is free.",
            {"port": port, "holder": holder, "free": free},
        )


class DiskFull(Failure):
    """There is no room for the tool's folder, or for what was `said` to be written; what was begun is taken back."""

    def __init__(self, said: str = "", log: Sequence[str] = ()) -> None:
        super().__init__("disk_full", disk_full_sentence(said), {"log": list(log)} if log else None)


class ToolExited(Failure):
    """The tool ended while it was waited for; `detail`: `exit_code`, `oom`, `log` (last lines)."""

    def __init__(self, message: str, exit_code: int | None, oom: bool, log: list[str]) -> None:
        super().__init__("exited", message, {"exit_code": exit_code, "oom": oom, "log": log})


class NotReady(Failure):
    """The tool is up but not ready in time; `detail`: `seen` (what it answered), `log` (last lines)."""

    def __init__(self, message: str, seen: str, log: list[str]) -> None:
        super().__init__("not_ready", message, {"seen": seen, "log": log})


class BundleRefused(Failure):
    """A source bundle holds what must not be unpacked; nothing of it was left on disk."""

    def __init__(self, message: str) -> None:
        super().__init__("bundle_refused", message)
