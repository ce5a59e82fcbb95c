"""What went wrong, in the one shape that operations, tasks and HTTP answers share."""

from typing import Any

from pydantic import Field

from libs.contracts.envelope import Frozen


class Problem(Frozen):
    """`code` is a stable word for programs, `message` a sentence with cause and way out, `detail` what helps."""

    code: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    message: str
    detail: dict[str, Any] | None = None
