"""What the gateway needs from the outside, in its own terms."""

from typing import Protocol

from libs.contracts.principals import Principal


class Accounts(Protocol):
    """Who there is."""

    async def authenticate(self, token: str) -> Principal | None:
        """Whose token it is, None if nobody's; takes the same time for every wrong one."""
        ...
