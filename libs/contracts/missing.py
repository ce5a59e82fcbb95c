"""What is said of a tool or an operation that is not there: the same by whoever is asked."""

from collections.abc import Sequence

from libs.contracts.source import shown


def no_tool(name: str, near: Sequence[str] = ()) -> str:
    """`near` are names of tools that there are."""
    hint = f"did you mean {' or '.join(near)}?" if near else "GET /api/v1/tools lists those that there are."
    return f"There is no tool {shown(name)}; {hint}"


def no_operation(id: str) -> str:
    return f"There is no operation {shown(id)}: records are kept for 90 days, and GET /api/v1/operations lists them."
