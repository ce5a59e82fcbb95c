"""Which Git addresses, refs, folders and names are let in: checked at every door, before anything is stored.

Refusing is the rule and letting through the exception: each part is matched against what it may be,
not against what is known to be harmful. No message repeats an address, because it may hold a secret.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from libs.contracts.names import is_tool_name
from libs.contracts.problems import Problem

DEFAULT_PROTOCOLS = frozenset({"https", "ssh"})
MAX_URL = 2000
MAX_REF = 255
MAX_SUBDIR = 500

_WRITE = "write https://host/path or user@host:path"
_USER = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\.?"
_IPV6 = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
_SCP_LIKE = re.compile(rf"(?P<user>{_USER})@(?P<host>{_HOST}|\[{_IPV6}\]):(?P<path>[^:\s][^\s]*)")
_HELPER = re.compile(r"[A-Za-z0-9+.-]+::")
_REF = re.compile(r"\w[\w./+@#=%,-]*")


class Refused(ValueError):
    """Something asked for is not let in; `message` says what is wrong and what would be right."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def problem(self) -> Problem:
        return Problem(code=self.code, message=self.message)


@dataclass(frozen=True)
class GitUrl:
    """An address that was let in. `value` is what Git is given; `host` is empty for `file`."""

    value: str
    protocol: str
    host: str
    path: str

    @property
    def default_name(self) -> str:
        """The tool's name when none is asked for: the last part of the address. Raises `Refused`."""
        return _name_from(self.path)

    def __str__(self) -> str:
        return self.value


def check_git_url(url: str, protocols: Iterable[str] = DEFAULT_PROTOCOLS) -> GitUrl:
    """The address taken apart, or `Refused`. `user@host:path` counts as ssh."""
    allowed = frozenset(protocols)
    _check_text(url)
    if "://" not in url:
        return _scp_like(url, allowed)
    protocol = url.split("://", 1)[0].lower()
    _check_protocol(protocol, allowed)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("git_url_invalid", f"The host or port of this Git address cannot be read: {_WRITE}.") from None
    _check_credentials(protocol, parts)
    if "?" in url or "#" in url:
        raise Refused("git_url_invalid", "A Git address has no ? and no #; give a branch or tag as the ref.")
    host = _check_host(protocol, parts, port)
    path = _check_path(parts.path)
    return GitUrl(value=f"{protocol}://{url.split('://', 1)[1]}", protocol=protocol, host=host, path=path)


def check_ref(ref: str) -> str:
    """The branch, tag or commit as given, or `Refused`: `git check-ref-format`'s rules, and few characters."""
    well_formed = _REF.fullmatch(ref) is not None and len(ref) <= MAX_REF
    parts = ref.split("/")
    if (
        not well_formed
        or ".." in ref
        or any(not part or part.startswith(".") or part.endswith((".lock", ".")) for part in parts)
    ):
        raise Refused(
            "git_ref_invalid",
            f"{shown(ref)} is no branch, tag or commit: it starts with a letter or digit, goes on with "
            f"letters, digits and . _ / + @ # = % , - and has at most {MAX_REF} characters.",
        )
    return ref


def check_subdir(subdir: str) -> str:
    """The folder with single slashes and none at its end; `Refused` for all that is not below the root."""
    parts = [part for part in subdir.split("/") if part not in ("", ".")]
    if (
        not parts
        or len(subdir) > MAX_SUBDIR
        or subdir.startswith(("/", "-"))
        or "\\" in subdir
        or not subdir.isprintable()
        or any(part == ".." or part.startswith("-") or part.lower() == ".git" for part in parts)
    ):
        raise Refused(
            "subdir_invalid",
            f"{shown(subdir)} is no folder inside the repository: write it like tools/my-tool, relative, "
            "without `..`; leave it out for the root.",
        )
    return "/".join(parts)


def check_tool_name(name: str) -> str:
    """The name as given, or `Refused`."""
    if not is_tool_name(name):
        raise Refused(
            "tool_name_invalid",
            f"{shown(name)} is no tool name: 1 to 40 of a-z, 0-9 and -, with a letter or digit at both ends.",
        )
    return name


def slug(text: str) -> str:
    """What is left of a text as a tool name; empty if nothing is."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")[:40].rstrip("-")


def shown(text: str, limit: int = 60) -> str:
    """A stranger's text, fit for a message: quoted, on one line, without control characters, cut."""
    whole = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return f'"{whole[:limit]}…"' if len(whole) > limit else f'"{whole}"'


def _check_text(url: str) -> None:
    if not url:
        raise Refused("git_url_invalid", f"The Git address is empty: {_WRITE}.")
    if len(url) > MAX_URL:
        raise Refused("git_url_invalid", f"The Git address is longer than {MAX_URL} characters: give a shorter one.")
    if url.startswith("-"):
        raise Refused("git_url_invalid", f"A Git address does not start with -: {_WRITE}.")
    if _HELPER.match(url) and "://" not in url:
        raise _no_remote()
    hidden = any(ord(char) < 32 or ord(char) == 127 for char in unquote(url))
    if hidden or not url.isprintable() or " " in url or "\\" in url:
        raise Refused(
            "git_url_invalid",
            "A Git address has no spaces, backslashes or control characters: give it as `git clone` takes it, with "
            "%20 for a space.",
        )


def _no_remote() -> Refused:
    return Refused(
        "git_url_invalid",
        f"This is no Git address MACHETE fetches from: {_WRITE}. Local paths and remote helpers (name::…) are refused.",
    )


def _check_protocol(protocol: str, allowed: frozenset[str]) -> None:
    if protocol not in allowed:
        named = shown(protocol, 20) if re.fullmatch(r"[a-z0-9+.-]+", protocol) else "what stands before ://"
        raise Refused(
            "git_protocol_not_allowed",
            f"Git over {named} is not allowed here; allowed: "
            f"{', '.join(sorted(allowed)) or 'nothing'} (setting MACHETE_GIT_PROTOCOLS).",
        )


def _scp_like(url: str, allowed: frozenset[str]) -> GitUrl:
    match = _SCP_LIKE.fullmatch(url)
    if match is None or match["path"].startswith("-"):
        raise _no_remote()
    _check_protocol("ssh", allowed)
    return GitUrl(value=url, protocol="ssh", host=match["host"], path=_check_path("/" + match["path"]))


def _check_credentials(protocol: str, parts: SplitResult) -> None:
    user, at, _ = parts.netloc.rpartition("@")
    named_user_only = protocol == "ssh" and re.fullmatch(_USER, user) is not None
    if at and not named_user_only:
        raise Refused(
            "credentials_in_url",
            "The Git address holds credentials, which would end up in logs and records: give it without what "
            "stands before the @.",
        )


def _check_host(protocol: str, parts: SplitResult, port: int | None) -> str:
    host = parts.netloc.rpartition("@")[2]
    if protocol == "file":
        if host:
            raise Refused("git_url_invalid", "A file address has no host: write file:///path.")
        return ""
    bare = re.sub(r":\d*$", "", host)
    if port == 0 or re.fullmatch(rf"{_HOST}|\[{_IPV6}\]", bare) is None:
        raise Refused("git_url_invalid", f"The Git address names no host, or one that is no host name: {_WRITE}.")
    return bare


def _check_path(path: str) -> str:
    if not path.strip("/"):
        raise Refused("git_url_invalid", f"The Git address names no repository after the host: {_WRITE}.")
    return path


def _name_from(path: str) -> str:
    last = unquote(path.rstrip("/").rpartition("/")[2])
    name = slug(last.removesuffix(".git"))
    if not name:
        raise Refused(
            "tool_name_needed",
            "The last part of the Git address gives no tool name: choose a name for the tool.",
        )
    return name
