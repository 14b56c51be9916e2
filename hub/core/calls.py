"""Calls as their owners see them: look, list, wait for the end, call off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from hub.core.dispatch import Dispatch
from hub.core.ending import made
from hub.core.ticket import Turn
from hub.model.call import CallState, Stage
from hub.model.errors import NotFound, StorageFailed
from hub.model.ids import CallId
from hub.model.job import facets_of
from hub.model.outcome import Ending
from hub.model.principal import Principal
from hub.model.query import Query
from hub.ports.clock import Clock
from hub.ports.engine import CallQuery, JobPage, Journal

WRITTEN = 5.0
"""Seconds that an end which was begun may take to be on disk."""


class Calls:
    """Reads the journal on behalf of one application; a foreign call looks exactly like a missing one (G2)."""

    def __init__(self, journal: Journal, dispatch: Dispatch, clock: Clock) -> None:
        self._journal = journal
        self._dispatch = dispatch
        self._clock = clock

    async def get(self, principal: Principal, call: CallId) -> CallState:
        """How the call stands now. Raises NotFound."""
        state = await self._journal.get(call)
        if state is None or state.call.spec.application != principal.application:
            raise NotFound("no such call", code="call-not-found")
        return state

    async def list(self, principal: Principal, query: CallQuery) -> Sequence[CallState]:
        """A page of the application's calls, newest first; account and application of `query` are overruled."""
        return await self._journal.list(
            replace(query, account=principal.account, application=principal.application)
        )

    async def job(self, account: str, device: str, job: str) -> CallState:
        """The call of an account behind a job of one of its arrays, whichever its application. Raises NotFound."""
        state = await self._journal.get(CallId(job))
        spec = None if state is None else state.call.spec
        if state is None or spec is None or (spec.account, spec.device) != (account, device) or not facets_of(spec):
            raise NotFound(f"Instance with id {job} was not found.", code="unknown-instance")
        return state

    async def jobs(self, account: str, device: str, query: Query) -> JobPage:
        """A page of the jobs of an array of the account. Raises OutOfRange."""
        return await self._journal.jobs(account, device, query)

    async def commands(self, application: str, organisation: str, device: str, query: Query) -> JobPage:
        """A page of the commands that an organisation gave a device through an application. Raises OutOfRange."""
        return await self._journal.commands(application, organisation, device, query)

    async def wait_end(self, call: CallId, until: float) -> CallState | None:
        """The call once it has ended, or as it stands at monotonic `until`; None if there is no such call."""
        ticket = self._dispatch.tickets.get(call)
        if ticket is not None:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            timer = self._clock.call_at(until, _resolve, done)
            waiters = ticket.waiters = ticket.waiters if ticket.waiters is not None else []
            waiters.append(done)
            try:
                await done
            finally:
                timer.cancel()
                if done in waiters:
                    waiters.remove(done)
        return await self._journal.get(call)

    def wake_waiters(self) -> None:
        """End every wait now, at drain: those who wait are told how their call stands."""
        for ticket in self._dispatch.tickets.values():
            for waiter in ticket.waiters or ():
                _resolve(waiter)

    async def cancel(self, principal: Principal, call: CallId) -> CallState:
        """Call it off: the state after. Raises NotFound, or Conflict when it cannot be called off."""
        state = await self.get(principal, call)
        if state.stage is Stage.DONE:
            return state
        await self._dispatch.ends.cancel(call)
        return await self.get(principal, call)

    async def withdraw(self, calls: Iterable[CallId]) -> Sequence[CallState]:
        """Call off those of some calls that nobody has begun to send; how these stand, once that is on disk.

        Whose calls they are is the asker's to see to. Raises StorageFailed when an end cannot be written in time.
        """
        unsent = [
            ticket
            for ticket in map(self._dispatch.tickets.get, calls)
            if ticket is not None and ticket.committed and ticket.turn in (Turn.QUEUED, Turn.RESERVED)
        ]
        # No await before the last of them is out of the line: none may be sent because another one left.
        for ticket in unsent:
            self._dispatch.ends.soon(ticket, made(Ending.CANCELLED))
        until = self._clock.monotonic() + WRITTEN
        states = [await self.wait_end(ticket.call.id, until) for ticket in unsent]
        ended = [state for state in states if state is not None and state.stage is Stage.DONE]
        if len(ended) < len(unsent):
            raise StorageFailed("the end of a call is still to be written")
        return ended


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
