"""Which token goes along to which server: to the one it is for, over the protocol it is for, and nowhere else."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from libs.contracts.source import GitUrl

# Hosts of tokens alone ask for no user, or take any with a token that is a password.
ANY_USER = "x-access-token"
DEFAULT_PORTS = {"https": 443, "http": 80}
SERVER_RULE = "a server is HOST or HOST:PORT for https; http://HOST:PORT where it is meant to go unencrypted"
TOKEN_RULE = "a token is a TOKEN or USER:TOKEN without spaces"

_SERVER = re.compile(r"(?:(https?)://)?([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?/?")
_LOGIN = re.compile(r"(?:[^\s:]+:)?[^\s:]+")


@dataclass(frozen=True)
class Token:
    """`origin` is the server it is for, like `https://git.example.org`; `login` is what HTTP's Basic takes."""

    origin: str
    login: str = field(repr=False)

    @property
    def header(self) -> str:
        return f"Authorization: Basic {self._encoded}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that may stand nowhere; the longest first, since one may be part of another."""
        return (self._encoded, self.login.partition(":")[2])

    @property
    def _encoded(self) -> str:
        return base64.b64encode(self.login.encode()).decode()


def check_server(text: str) -> str:
    """The origin that a server's name in the settings stands for. Raises ValueError with the rule."""
    match = _SERVER.fullmatch(text)
    if match is None or (match[3] is not None and not 1 <= int(match[3]) <= 65535):
        raise ValueError(SERVER_RULE)
    protocol = match[1] or "https"
    return _origin(protocol, match[2], int(match[3]) if match[3] else None)


def check_login(text: str) -> str:
    """USER:TOKEN, the user filled in where there is none. Raises ValueError with the rule, never with the text."""
    if _LOGIN.fullmatch(text) is None or not text.isprintable():
        raise ValueError(TOKEN_RULE)
    return text if ":" in text else f"{ANY_USER}:{text}"


def token_for(url: GitUrl, logins: Mapping[str, str]) -> Token | None:
    """`logins` are the values of `check_login` by those of `check_server`."""
    if url.protocol not in DEFAULT_PORTS:
        return None
    origin = _origin(url.protocol, url.host, urlsplit(url.value).port)
    login = logins.get(origin)
    return None if login is None else Token(origin, login)


def configuration(token: Token) -> dict[str, str]:
    """Git's configuration as variables of its environment: they stand in no argument and no file.

    Redirects are not followed then. The request that is redirected loses the header at the second server, but Git
    sends it along with the next one, which goes there straight (seen with Git 2.39).
    """
    entries = {f"http.{token.origin}/.extraHeader": token.header, "http.followRedirects": "false"}
    variables = {"GIT_CONFIG_COUNT": str(len(entries))}
    for number, (key, value) in enumerate(entries.items()):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def _origin(protocol: str, host: str, port: int | None) -> str:
    shown_port = f":{port}" if port not in (None, DEFAULT_PORTS[protocol]) else ""
    return f"{protocol}://{host.lower()}{shown_port}"
