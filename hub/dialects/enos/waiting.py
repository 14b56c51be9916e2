"""Requests that wait for the end of their call: at most so many of one account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from hub.core.hub import Hub
from hub.delivery.waiting import Waiting
from hub.dialects.enos.failure import SYNC_FULL, Failure
from hub.model.call import Call, CallState
from hub.ports.clock import monotonic_at

GRACE = 5.0


class EnosWaiting:
    """The seats of those who wait."""

    def __init__(self, hub: Hub, most: int) -> None:
        self._clock = hub.clock
        self._waiting = Waiting(hub, most)

    @contextmanager
    def seat(self, account: str) -> Iterator[None]:
        """A seat for the length of the block. Raises Failure when as many of the account wait as may."""
        with self._waiting.seat(account) as seated:
            if not seated:
                raise Failure(SYNC_FULL)
            yield

    async def ended(self, request: Request, call: Call) -> CallState | None:
        """The call once it has ended, or as it stands when the hub goes down."""
        # The deadline ends the call; the rest is for writing that down.
        return await self._waiting.ended(request, call.id, monotonic_at(self._clock, call.deadline) + GRACE)
