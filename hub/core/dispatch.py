"""Every open call and what becomes of it: its place in line, its claim, its attempts, its end.

The journal is the truth, this is its memory: a call is claimed on disk before its first byte leaves, and the first
ending wins (decisions B, D). Whose turn it is: `queues.py`. How it is claimed: `claiming.py`. How one attempt runs:
`attempt.py`. What follows a failed one: `ending.py`. How a call ends: `finishing.py`. How all this is rebuilt after a
restart: `recovery.py`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from hub.core.attempt import Attempts
from hub.core.cache import Cache, Place, kept_answer
from hub.core.claiming import Claiming
from hub.core.finishing import Finishing
from hub.core.queues import Queues
from hub.core.stats import Stats
from hub.core.tasks import Tasks
from hub.core.ticket import Ticket, Turn
from hub.model.call import Call, Order
from hub.model.device import Device
from hub.model.ids import CallId, Incarnation
from hub.model.outcome import Outcome
from hub.ports.adapter import Adapter, DeviceEvent
from hub.ports.clock import Clock, monotonic_at
from hub.ports.engine import Journal


class Dispatch:
    """Owns every open call in memory. `go` starts sending; before it, tickets only queue up."""

    def __init__(
        self,
        journal: Journal,
        adapters: Mapping[str, Adapter],
        clock: Clock,
        incarnation: Incarnation,
        stats: Stats,
        cache: Cache | None = None,
    ) -> None:
        self.cache = Cache(clock) if cache is None else cache
        self.journal = journal
        self.adapters = adapters
        self.clock = clock
        self.incarnation = incarnation
        self.stats = stats
        self.tickets: dict[CallId, Ticket] = {}
        self.running: Counter[str] = Counter()
        self.open: Counter[Place] = Counter()
        self._lives: Counter[Place] = Counter()
        self.under_way = 0
        self.claiming = Claiming(self)
        self.queues = Queues(adapters, clock, self.claiming.claim_soon, self.claiming.park_soon)
        self.attempts = Attempts(self)
        self.ends = Finishing(self)
        self._tasks: Tasks | None = None
        self._early: list[tuple[Coroutine[Any, Any, object], str]] = []
        self._quiet: asyncio.Future[None] | None = None
        self.silent: Callable[[str, str], bool] = _awake
        """Told of a device (adapter, address) that left an attempt unanswered; whether that means that it sleeps."""

    # -- life -----------------------------------------------------------------------------------

    def go(self, tasks: Tasks) -> None:
        """Begin to send, with attempts as members of `tasks`."""
        self._tasks = tasks
        self.queues.open = True
        early, self._early = self._early, []
        for coro, name in early:
            self.spawn(coro, name)
        self.queues.pump_all()

    def halt(self) -> None:
        """Send nothing more. Attempts under way may still end their calls; those that fail stay as the journal has
        them, for the next start to judge."""
        self.queues.open = False

    def close(self) -> None:
        """Let go of everything in memory; the journal has it."""
        for ticket in self.tickets.values():
            ticket.quiet()
        for coro, _ in self._early:
            coro.close()

    @property
    def sending(self) -> bool:
        """Whether attempts may start now."""
        return self.queues.open

    async def quiet(self, until: float) -> bool:
        """Wait until no attempt runs, at most to monotonic `until`; whether it came to that."""
        if self.under_way:
            quiet = self._quiet = asyncio.get_running_loop().create_future()
            timer = self.clock.call_at(until, _resolve, quiet)
            try:
                await quiet
            finally:
                timer.cancel()
                self._quiet = None
        return not self.under_way

    def attempt_over(self) -> None:
        """One attempt less is under way."""
        self.under_way -= 1
        if not self.under_way and self._quiet is not None:
            _resolve(self._quiet)

    def spawn(self, coro: Coroutine[Any, Any, object], name: str) -> None:
        """Run an attempt or a write as one of the hub's tasks; before `go` it waits for that."""
        if self._tasks is None:
            self._early.append((coro, name))
        else:
            self._tasks.create_task(coro, name=name)

    # -- joining --------------------------------------------------------------------------------

    def ticket_for(self, call: Call, hit: Outcome | None = None) -> Ticket:
        """A new ticket, not in line yet; with `hit` it never will be, for its answer is known."""
        ticket = Ticket(
            call,
            self.queues.lane_for(call),
            deadline=monotonic_at(self.clock, call.deadline),
            expires=monotonic_at(self.clock, call.expires_at),
        )
        ticket.hit = hit
        ticket.life = self._lives[call.adapter, call.address]
        self.tickets[call.id] = ticket
        self.running[call.spec.application] += 1
        if hit is None:
            place = (call.adapter, call.address)
            self.open[place] += 1
            if call.spec.method != "GET":
                self.cache.changing(place)
        return ticket

    def join(self, call: Call) -> Ticket:
        """Give a call its place before its accept commit; one with `ticket.slot` is to be claimed in that commit.

        A read that is answered by a value kept earlier gets no place: it ends once it is accepted. That is only so
        while no earlier call of the device is open, whose answer it would overtake (decisions H2).
        """
        place = (call.adapter, call.address)
        hit = None if self.open[place] else kept_answer(self.cache, call, self.clock.now())
        ticket = self.ticket_for(call, hit)
        if hit is None:
            self.queues.join(ticket)
        return ticket

    def forsake(self, tickets: Iterable[Ticket]) -> None:
        """The accept commit did not happen: forget the tickets, free what they held."""
        for ticket in tickets:
            self.drop(ticket)
            self.queues.pump(ticket.lane)

    def committed(self, tickets: Sequence[Ticket], claimed: frozenset[CallId]) -> None:
        """The accept commit happened: send what was claimed in it, let the others wait their turn."""
        for ticket in tickets:
            ticket.committed = True
            if ticket.hit is not None:
                self.ends.soon(ticket, ticket.hit)
                continue
            if ticket.slot and ticket.call.id in claimed:
                ticket.attempt = 1
                if self.sending:
                    self.attempts.start(ticket)
                else:
                    self.spawn(self.claiming.undo(ticket), "release")
                continue
            ticket.turn = Turn.QUEUED
            self.ends.arm_expiry(ticket)
            if ticket.call.spec.order is Order.LATEST:
                self.ends.supersede(ticket)
            self.queues.pump(ticket.lane)

    def line_up(self, ticket: Ticket) -> None:
        """A recovered ticket stands in line behind the older ones."""
        self.queues.join(ticket)
        ticket.turn = Turn.QUEUED
        self.ends.arm_expiry(ticket)

    def again(self, ticket: Ticket, pause: float, *, parked: bool = False) -> None:
        """The call waits for another attempt: at the head of its lane, after a pause or when its device shows up."""
        if ticket.turn is Turn.ENDING:
            return
        ticket.quiet()
        ticket.not_before = self.clock.monotonic() + pause
        ticket.parked = parked
        self.queues.back(ticket)
        self.ends.arm_expiry(ticket)
        self.queues.pump(ticket.lane)

    # -- leaving --------------------------------------------------------------------------------

    def drop(self, ticket: Ticket) -> None:
        """Forget a call that is over, or was never accepted, and wake who waits for its end."""
        ticket.quiet()
        self.queues.leave(ticket)
        if self.tickets.pop(ticket.call.id, None) is not None:
            application = ticket.call.spec.application
            self.running[application] -= 1
            if not self.running[application]:
                del self.running[application]
            if ticket.hit is None:
                self._one_less((ticket.call.adapter, ticket.call.address))
        ticket.told_ended()
        for waiter in ticket.waiters or ():
            _resolve(waiter)
        ticket.waiters = None
        self.queues.forget(ticket.lane)

    def _one_less(self, place: Place) -> None:
        self.open[place] -= 1
        if not self.open[place]:
            del self.open[place]
            self._lives.pop(place, None)
            self.cache.settled(place)

    def left(self, place: Place) -> None:
        """The device at a place is deleted or moved: who comes there next is another one, even by the same name."""
        if self.open[place]:
            self._lives[place] += 1

    def outlived(self, ticket: Ticket) -> bool:
        """Whether the device that the call was for is not the one at its place any more."""
        return ticket.life != self._lives[ticket.call.adapter, ticket.call.address]

    def standing(self, device: Device) -> tuple[int, int]:
        """How many open calls of a device wait unsent, and how many are under way."""
        waiting = len(self.queues.of_device(device.adapter, device.address))
        return waiting, max(0, self.open[device.adapter, device.address] - waiting)

    async def late(self, adapter: str, event: DeviceEvent) -> bool:
        """An answer outside its attempt: it ends the call if the call is still open, else it is only noted."""
        return await self.attempts.late(adapter, event)


def _awake(adapter: str, address: str) -> bool:
    return False


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
