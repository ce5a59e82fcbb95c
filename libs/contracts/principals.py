"""Who asks."""

from typing import Literal

from libs.contracts.envelope import Frozen

Role = Literal["admin", "operator", "viewer"]


class Principal(Frozen):
    """A user, a service or an agent; `label` (`user:admin`) is what records and operation ids carry."""

    kind: Literal["user", "service", "agent"]
    name: str
    role: Role

    @property
    def label(self) -> str:
        return f"{self.kind}:{self.name}"
