"""The end of a call: begun once, written until it is on disk, then told and forgotten (decisions B, C).

The first to begin it decides it; whoever comes later may wait until it is written. What an ending is called and what it
tells: `ending.py`. An answer becomes an end in `attempt.py`; all other reasons to end a call are here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hub.core.attempt import STORAGE_PAUSE
from hub.core.cache import keep_answer
from hub.core.ending import callbacks, completion, made, may_repeat, stripped, unanswered, unsent
from hub.core.ticket import Ticket, Turn
from hub.model.call import Call, Order
from hub.model.device import Device
from hub.model.errors import Conflict, StorageFailed
from hub.model.ids import CallId
from hub.model.job import created
from hub.model.outcome import Ending, Outcome
from hub.ports.engine import End

if TYPE_CHECKING:
    from hub.core.dispatch import Dispatch

OVERDUE = 2.0

log = logging.getLogger("hub.dispatch")


class Finishing:
    """Ends the calls of `dispatch`."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._closed = False
        self.also_told: dict[str, Callable[[Call], Sequence[str]]] = {}
        """By dialect: the further channels (full names) on which the end of a call is told, in the same commit."""
        self.name_of: Callable[[Call], str | None] = _unnamed
        """What the device of a call calls itself."""
        self.on_deliveries: Callable[[], None] = _nobody
        """Called after a commit that wrote delivery rows."""

    # -- beginning and writing ------------------------------------------------------------------

    def soon(self, ticket: Ticket, outcome: Outcome) -> None:
        """Begin to end a call; whatever else happens to it from now on comes too late."""
        if ticket.turn is not Turn.ENDING:
            self._begin(ticket)
            self._dispatch.spawn(self._write(ticket, outcome), "end")

    async def end(self, ticket: Ticket, outcome: Outcome) -> bool:
        """End a call and return once its end is on disk; False if that is another one's, begun before.

        Raises StorageFailed when the hub went down over that other one.
        """
        if ticket.turn is Turn.ENDING:
            await self.written(ticket)
            return False
        self._begin(ticket)
        return await self._write(ticket, outcome)

    async def written(self, ticket: Ticket) -> None:
        """Return once the end that was begun is on disk. Raises StorageFailed when the hub goes down over it."""
        if self._dispatch.tickets.get(ticket.call.id) is ticket and not self._closed:
            if ticket.ended is None:
                ticket.ended = asyncio.get_running_loop().create_future()
            await asyncio.shield(ticket.ended)
        if self._dispatch.tickets.get(ticket.call.id) is ticket:
            raise StorageFailed("the end of the call is still to be written")

    def close(self) -> None:
        """The hub goes down now: nobody needs to wait any more, and what is not written yet the next start judges."""
        self._closed = True
        for ticket in self._dispatch.tickets.values():
            ticket.told_ended()

    def _begin(self, ticket: Ticket) -> None:
        ticket.quiet()
        self._dispatch.queues.leave(ticket)
        ticket.turn = Turn.ENDING

    async def _write(self, ticket: Ticket, outcome: Outcome, *, begun: bool = False) -> bool:
        try:
            first = await self._commit(ticket, outcome, begun)
        except asyncio.CancelledError:
            # Whoever began it left; nobody else may end this call now, so the hub goes on with it.
            if not self._closed:
                self._dispatch.spawn(self._write(ticket, outcome, begun=True), "end")
            raise
        self._dispatch.drop(ticket)
        return first

    async def _commit(self, ticket: Ticket, outcome: Outcome, begun: bool) -> bool:
        """`begun`: the same end was handed over before, and may be on disk though nobody heard of it."""
        dispatch, call, bare = self._dispatch, ticket.call, False
        while True:
            now = dispatch.clock.now()
            try:
                deliveries = callbacks(call, now)
                told = completion(call, outcome, now, self.name_of(call))
                copies = tuple(replace(told, channel=name) for name in self._also_told(call))
                instance = None if bare else created(call.spec, outcome)
                end = End(call.id, outcome, now, (told, *copies), deliveries, instance)
                offset = await dispatch.journal.finish(end)
                break
            except Exception as failure:
                if not bare and not isinstance(failure, StorageFailed):
                    # Something in what the device said cannot be written. The call ends all the same, without it.
                    log.exception("the end of call %s cannot be written as it is", call.id)
                    bare, outcome = True, stripped(outcome)
                    continue
                # The answer is known and must not be lost while there is any hope of writing it.
                log.warning("the end of call %s could not be written, trying again: %s", call.id, failure)
                dispatch.stats.storage_failures += 1
                await dispatch.clock.sleep_until(dispatch.clock.monotonic() + STORAGE_PAUSE)
        if offset is None and not begun:
            return False
        dispatch.stats.ended[outcome.ending.value] += 1
        if deliveries:
            self.on_deliveries()
        if outcome.ending is Ending.ANSWERED and call.spec.method == "GET" and ticket.hit is None:
            keep_answer(dispatch.cache, call, outcome)
        return True

    def _also_told(self, call: Call) -> Sequence[str]:
        also = self.also_told.get(call.spec.dialect)
        try:
            return () if also is None else also(call)
        except Exception:
            # A bug there must not keep the call from its end.
            log.exception("nobody knows on which further channels the end of call %s is told", call.id)
            return ()

    # -- reasons --------------------------------------------------------------------------------

    def arm_expiry(self, ticket: Ticket) -> None:
        """Wake up when the call may wait no longer."""
        if ticket.timer is not None:
            ticket.timer.cancel()
        ticket.timer = self._dispatch.clock.call_at(min(ticket.expires, ticket.deadline), self._expire, ticket)

    def _expire(self, ticket: Ticket) -> None:
        ticket.timer = None
        if ticket.turn is Turn.QUEUED:
            self.soon(ticket, unsent(ticket.call, ticket.before))

    def supersede(self, newer: Ticket) -> None:
        """A call of which only the latest counts takes the place of those that wait before it."""
        spec = newer.call.spec
        for older in list(newer.lane.queue):
            other = older.call.spec
            if (
                older is not newer
                and older.turn is Turn.QUEUED
                and other.order is Order.LATEST
                and (other.application, other.device, other.method, other.target)
                == (spec.application, spec.device, spec.method, spec.target)
            ):
                self.soon(older, made(Ending.CANCELLED, "SUPERSEDED"))

    async def cancel(self, call: CallId) -> None:
        """End a call at its caller's wish: cancelled, or unknown where it may have happened (decisions C).

        Returns when that is on disk, or at once if there is no such open call. Raises Conflict for a job
        that the far side holds and the adapter cannot call off, StorageFailed when the hub goes down over it.
        """
        ticket = self._dispatch.tickets.get(call)
        if ticket is None or not ticket.committed or ticket.turn is Turn.ENDING:
            return
        held = ticket.turn is Turn.HELD
        if held:
            adapter = self._dispatch.adapters.get(ticket.lane.adapter)
            if adapter is None or adapter.capabilities.cancel != "remote":
                raise Conflict("the far side holds this call and cannot call it off", code="cannot-cancel")
        waiting = ticket.turn in (Turn.QUEUED, Turn.RESERVED)
        scope = ticket.scope
        harmless = waiting or held or may_repeat(ticket.call)
        await self.end(ticket, made(Ending.CANCELLED if harmless else Ending.UNKNOWN))
        if scope is not None:
            scope.cancel()

    def remove_device(self, device: Device) -> None:
        """A device left for good: what was not sent to it never will be (decisions E1). What may have reached it
        before is told as it stands since."""
        self._waiting_for(device, made(Ending.REMOVED))

    def block_device(self, device: Device) -> None:
        """A device was suspended: the same."""
        self._waiting_for(device, made(Ending.REMOVED, "DEVICE_BLOCKED"))

    def _waiting_for(self, device: Device, outcome: Outcome) -> None:
        for ticket in self._dispatch.queues.of_device(device.adapter, device.address):
            spec = ticket.call.spec
            # A disabled device may have lost its place to another, whose calls these are.
            if ticket.turn is Turn.QUEUED and (spec.account, spec.device) == (device.account, device.id):
                self.soon(ticket, ticket.before or outcome)

    def end_overdue(self) -> None:
        """End what should have ended by its deadline and did not: the net under everything else."""
        tickets, over = self._dispatch.tickets.values(), self._dispatch.clock.monotonic() - OVERDUE
        for ticket in [ticket for ticket in tickets if ticket.deadline < over and ticket.committed]:
            if ticket.turn is not Turn.ENDING:
                log.error("call %s outlived its deadline as %s", ticket.call.id, ticket.turn.value)
                self.soon(ticket, unanswered(ticket.call))


def _unnamed(call: Call) -> None:
    """Nobody knows the devices."""


def _nobody() -> None:
    """Nobody delivers: the rows wait for a hub where somebody does."""
