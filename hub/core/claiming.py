"""The claim: that a call is about to be sent is on disk before its first byte leaves (decisions B, D).

Whose turn it is: `queues.py`. What happens then: `attempt.py`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hub.core.attempt import STORAGE_PAUSE
from hub.core.ticket import Ticket, Turn
from hub.model.call import Stage
from hub.model.errors import StorageFailed

if TYPE_CHECKING:
    from hub.core.dispatch import Dispatch

log = logging.getLogger("hub.dispatch")


class Claiming:
    """Writes to the journal what becomes of waiting calls of `dispatch` before they are sent."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    def claim_soon(self, tickets: list[Ticket]) -> None:
        """Claim those whose turn came in one loop iteration, in one commit."""
        self._dispatch.spawn(self._claim(tickets), "claim")

    def park_soon(self, ticket: Ticket) -> None:
        """Note that a call waits for its device to show up."""
        self._dispatch.spawn(self._park(ticket), "park")

    async def undo(self, ticket: Ticket) -> None:
        """Claimed, but the hub is going down: nothing was sent, so the next start may send it whatever it is."""
        await self._dispatch.journal.release([ticket.call.id], self._dispatch.incarnation)

    async def _claim(self, tickets: list[Ticket]) -> None:
        """Write the intent to send, then send."""
        dispatch = self._dispatch
        open_ = [ticket for ticket in tickets if ticket.turn is Turn.RESERVED]
        ids = [ticket.call.id for ticket in open_]
        try:
            claimed = await dispatch.journal.claim(ids, dispatch.incarnation, dispatch.clock.now())
        except StorageFailed as failure:
            log.warning("claim failed: %s", failure)
            for ticket in open_:
                dispatch.again(ticket, STORAGE_PAUSE)
            return
        for ticket in open_:
            if ticket.turn is Turn.ENDING:
                continue
            if ticket.call.id not in claimed:
                await self._unclaimable(ticket)
                continue
            ticket.attempt += 1
            ticket.parked = False
            if dispatch.sending:
                dispatch.attempts.start(ticket)
            else:
                await self.undo(ticket)

    async def _unclaimable(self, ticket: Ticket) -> None:
        """The journal has the call in another stage than memory thought: believe the journal."""
        state = await self._dispatch.journal.get(ticket.call.id)
        log.error("call %s could not be claimed: %s", ticket.call.id, None if state is None else state.stage.value)
        if state is None or state.stage is Stage.DONE:
            self._dispatch.drop(ticket)
        else:
            await self._dispatch.attempts.release(ticket, STORAGE_PAUSE)

    async def _park(self, ticket: Ticket) -> None:
        try:
            await self._dispatch.journal.park([ticket.call.id])
        except StorageFailed as failure:
            ticket.parked = False
            log.warning("park failed: %s", failure)
