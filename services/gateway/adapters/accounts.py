"""The accounts of a platform that was just set up: the first token is the only one."""

import hmac
from dataclasses import dataclass, field

from libs.contracts.principals import Principal

ADMIN = Principal(kind="user", name="admin", role="admin")


@dataclass
class FirstAccount:
    """One administrator, known by the token in `<data>/admin.token`; nobody, as long as `token` is empty."""

    token: bytes = field(default=b"", repr=False)

    async def authenticate(self, token: str) -> Principal | None:
        known = hmac.compare_digest(self.token, token.encode(errors="replace"))
        return ADMIN if known and self.token else None
