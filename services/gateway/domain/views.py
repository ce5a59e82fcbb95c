"""An operation as the record tells it, for whoever has just asked for it."""

from collections.abc import Sequence

from libs.contracts.operations import (
    CancelRequested,
    OperationAccepted,
    OperationCancelled,
    OperationEnded,
    OperationFailed,
    OperationStarted,
    OperationState,
    Recorded,
)
from libs.contracts.views import OperationView, operation_links


def operation_view(accepted: OperationAccepted, events: Sequence[Recorded], position: int) -> OperationView:
    """`events` are the record's, `accepted` among them. Steps stand elsewhere: `links.self` shows them.

    The links that answer from the projection carry `position`, so that they show at least this.
    """
    ended = next((event for event in events if isinstance(event, OperationEnded)), None)
    return OperationView(
        id=accepted.operation,
        kind=accepted.kind,
        tool=accepted.tool,
        tool_name=accepted.tool_name,
        state=_state(ended, events),
        error=ended.error if isinstance(ended, OperationFailed | OperationCancelled) else None,
        steps=(),
        requested_by=accepted.requested_by.label,
        cancel_requested=any(isinstance(event, CancelRequested) for event in events),
        created_at=accepted.created_at,
        ended_at=ended.ended_at if ended is not None else None,
        retry_of=accepted.retry_of,
        links=_links(accepted, position),
    )


def _state(ended: OperationEnded | None, events: Sequence[Recorded]) -> OperationState:
    if ended is not None and ended.ends_as is not None:
        return ended.ends_as
    begun = any(isinstance(event, OperationStarted) for event in events)
    return OperationState.RUNNING if begun else OperationState.ACCEPTED


def _links(accepted: OperationAccepted, position: int) -> dict[str, str]:
    links = operation_links(accepted.operation, accepted.tool_name)
    return {name: f"{link}?position={position}" if name in ("self", "tool") else link for name, link in links.items()}
