"""Which failures of the hub's are its last word on what a device said, and which go by. Pure."""

from __future__ import annotations

from hub.model.errors import HubError, IllegalStep, NotTaken, Refusal, Unavailable, UnknownDevice


def is_final(failure: HubError) -> bool:
    """Whether the same would be refused again: it is not tried again then, and nobody waits behind it."""
    if isinstance(failure, Refusal):
        return not isinstance(failure, Unavailable) and failure.retry_after is None
    return isinstance(failure, UnknownDevice | NotTaken | IllegalStep)
