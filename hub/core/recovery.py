"""Lanes rebuilt from the journal at start (delivery guarantee C2).

Unsent calls wait again in their old order. A sent call that may be repeated is released and goes out again, under the
same call id; any other waits for a late answer until its attempt's time is over and is then told as unknown. A job that
the far side holds is resumed from its note. An adapter that can find out what became of a sent call is asked to.
"""

from __future__ import annotations

import logging
from datetime import datetime

from hub.core.attempt import needs_answer
from hub.core.dispatch import Dispatch
from hub.core.ending import unanswered
from hub.core.ticket import Ticket
from hub.model.call import CallState, Order, Stage
from hub.ports.abilities import Recovers
from hub.ports.clock import monotonic_at

log = logging.getLogger("hub.recovery")


class Recovery:
    """Reads the open calls once, before adapters start; `go` sets the sent ones moving afterwards."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._held: list[Ticket] = []
        self._lost: list[tuple[Ticket, datetime]] = []

    async def load(self) -> int:
        """Queue every open call; returns how many there are."""
        dispatch = self._dispatch
        count = 0
        async for page in dispatch.journal.open_calls():
            count += len(page)
            taken = [state.call.id for state in page if state.stage in (Stage.SENT, Stage.WAITING)]
            if taken:
                await dispatch.journal.adopt(taken, dispatch.incarnation)
            again = [s.call.id for s in page if s.stage is Stage.SENT and not needs_answer(s.call)]
            if again:
                await dispatch.journal.release(again, dispatch.incarnation, maybe_sent=True)
            for state in page:
                self._place(state)
        if count:
            log.info("took up %d open calls", count)
        return count

    def _place(self, state: CallState) -> None:
        dispatch = self._dispatch
        ticket = dispatch.ticket_for(state.call)
        ticket.restore(state)
        if state.maybe_sent or state.stage is Stage.SENT:
            # What its device may have said of it is not known any more.
            ticket.before = unanswered(state.call)
        if state.stage is Stage.WAITING and state.note is not None:
            dispatch.queues.take_up(ticket)
            if state.call.spec.order is Order.EXCLUSIVE and state.sent_at is not None:
                # Others wait for its end, so that it has no longer than its attempt had.
                over = min(state.call.deadline, state.sent_at + state.call.timeout)
                ticket.attempt_deadline = monotonic_at(dispatch.clock, over)
            self._held.append(ticket)
        elif state.stage is Stage.SENT and needs_answer(state.call):
            sent = state.sent_at or state.call.accepted_at
            over = min(state.call.deadline, sent + state.call.timeout)
            dispatch.queues.take_up(ticket)
            if isinstance(dispatch.adapters.get(state.call.adapter), Recovers):
                self._lost.append((ticket, sent))
                return
            dispatch.attempts.linger(ticket, monotonic_at(dispatch.clock, over))
        else:
            ticket.parked = state.stage is Stage.PARKED
            dispatch.line_up(ticket)

    def go(self) -> None:
        """Resume the jobs that the far side holds. Call after the adapters started and `Dispatch.go`."""
        held, self._held = self._held, []
        for ticket in held:
            assert ticket.note is not None
            if ticket.call.adapter in self._dispatch.adapters:
                self._dispatch.attempts.resume(ticket, ticket.note)
            else:
                self._dispatch.attempts.linger(ticket, ticket.deadline)
        lost, self._lost = self._lost, []
        for ticket, sent_at in lost:
            self._dispatch.attempts.recover(ticket, sent_at)
