"""What lets a fetch in: a key over ssh, a token over https; and what to say where that does not help."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from libs.contracts.source import GitUrl
from libs.runtime.masking import MASK
from services.installer.domain import git_says, git_tokens, ssh_says
from services.installer.domain.failures import FetchFailed
from services.installer.ports import Child, Children, always

NOWHERE = Path("/dev/null")


@dataclass(frozen=True)
class Credentials:
    """`ssh_key` need not exist. `logins` are USER:TOKEN by the server's origin, as `git_tokens` checks them."""

    ssh_key: Path = NOWHERE
    known_hosts: Path = NOWHERE
    logins: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


class Access:
    """The credential of one fetch. `folder` is the fetch's own; `environment` is Git's without a credential."""

    def __init__(self, credentials: Credentials, url: GitUrl, folder: Path, environment: Mapping[str, str]):
        self._credentials = credentials
        self._url = url
        self._folder = folder
        self._plain = environment
        self._token = git_tokens.token_for(url, credentials.logins)

    @property
    def environment(self) -> dict[str, str]:
        """For a Git that goes to the server; no other process may have it."""
        return {**self._plain, **(git_tokens.configuration(self._token) if self._token else {})}

    def lay_out(self) -> None:
        """Links, not copies: no key lies about where a fetch was killed."""
        if self._url.protocol == "ssh":
            links = self._folder / ssh_says.FOLDER
            links.mkdir()
            (links / ssh_says.KEY).symlink_to(self._credentials.ssh_key)
            (links / ssh_says.KNOWN_HOSTS).symlink_to(self._credentials.known_hosts)

    def masked(self, line: str) -> str:
        """The line without the token, which the server knows and may repeat."""
        for secret in self._token.secrets if self._token else ():
            line = line.replace(secret, MASK)
        return line

    async def failure(self, lines: Sequence[str], children: Children) -> FetchFailed:
        """Why Git ended badly; `lines` are its last ones, masked."""
        failed = git_says.failure(lines, self._url)
        if self._url.protocol == "ssh" and failed.code == "git_host_key_unknown":
            return ssh_says.host_key_failure(lines, self._url, self._credentials.known_hosts)
        if self._url.protocol == "ssh" and failed.code == "git_access_denied":
            return await self._key_failure(lines, children)
        if self._token and failed.code == "git_access_denied":
            return git_says.token_refused(lines, self._token.origin)
        return failed

    async def _key_failure(self, lines: Sequence[str], children: Children) -> FetchFailed:
        key = self._credentials.ssh_key
        code, public = await self._asked(children, ssh_says.read_key(key))
        if code:
            return ssh_says.key_fault(public, self._url, key)
        file = self._folder / ssh_says.FOLDER / "public"
        file.write_text(public)
        _, said = await self._asked(children, ssh_says.read_fingerprint(file))
        fingerprint = ssh_says.fingerprint_in(said) or "that MACHETE has"
        return ssh_says.key_refused(lines, self._url, key, fingerprint, public.strip())

    async def _asked(self, children: Children, argv: list[str]) -> tuple[int, str]:
        async with children.run(argv, env=self._plain, cwd=self._folder, alive=always) as child:
            return await _exit_and_words(child)


async def _exit_and_words(child: Child) -> tuple[int, str]:
    words = [line async for line in child.lines()]
    return await child.wait(), "\n".join(words)
