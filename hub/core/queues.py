"""Lanes and slots: whose turn it is.

Only the order of the day, in memory. Free slots of a lane are the smaller of the adapter's window and its capability
(decisions D1); a slot that is reserved but not handed over yet counts against the window, since the adapter cannot know
of it. What a turn leads to (a claim on disk, an attempt) is the dispatcher's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from hub.core.ticket import Lane, Ticket, Turn
from hub.model.call import Call, Order
from hub.model.device import Presence
from hub.ports.adapter import Adapter
from hub.ports.clock import Clock

LaneKey = tuple[str, str]


class Queues:
    """The lanes of all adapters. `turns` gets the tickets whose turn came, once per loop iteration for all lanes;
    `absent` gets a ticket at the head of its lane whose device sleeps or is away."""

    def __init__(
        self,
        adapters: Mapping[str, Adapter],
        clock: Clock,
        turns: Callable[[list[Ticket]], None],
        absent: Callable[[Ticket], None],
    ) -> None:
        self._adapters = adapters
        self._clock = clock
        self._turns = turns
        self._absent = absent
        self._lanes: dict[LaneKey, Lane] = {}
        self._waiting: Counter[tuple[str, str, str]] = Counter()
        self._inflight: Counter[str] = Counter()
        self._starved: dict[str, dict[LaneKey, Lane]] = {}
        self._due: list[Ticket] = []
        self._silent: set[tuple[str, str]] = set()
        self.open = False

    # -- standing in line -----------------------------------------------------------------------

    def waiting(self, account: str, device: str, dialect: str) -> int:
        """How many unsent calls of a dialect stand in line for a device."""
        return self._waiting[account, device, dialect]

    def lane_for(self, call: Call) -> Lane:
        """The call's lane, made if there was none."""
        key = (call.adapter, call.lane)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(call.adapter, call.lane)
        return lane

    def of_device(self, adapter: str, address: str) -> list[Ticket]:
        """The tickets that stand in line for a device."""
        known = self._adapters.get(adapter)
        lane = None if known is None else self._lanes.get((adapter, known.lane(address)))
        return [] if lane is None else [ticket for ticket in lane.queue if ticket.call.address == address]

    def join(self, ticket: Ticket) -> None:
        """A new ticket: it gets a slot at once if nobody stands before it, else it stands at the end of its lane."""
        if self.open and not ticket.lane.queue and self.free(ticket) > 0:
            self._take_slot(ticket)
        else:
            ticket.lane.queue.append(ticket)
            self._count(ticket, 1)

    def back(self, ticket: Ticket) -> None:
        """Back to the head of its lane, without a slot: nothing overtakes a call that has to wait again."""
        self._give_slot(ticket)
        ticket.lane.queue.appendleft(ticket)
        ticket.turn = Turn.QUEUED
        self._count(ticket, 1)

    def leave(self, ticket: Ticket) -> None:
        """Out of the line, if it stands there, and out of its slot, if it has one; the next may go."""
        if ticket.queued:
            ticket.lane.queue.remove(ticket)
            self._count(ticket, -1)
        self.free_slot(ticket)

    def _count(self, ticket: Ticket, n: int) -> None:
        ticket.queued = n > 0
        spec = ticket.call.spec
        key = (spec.account, spec.device, spec.dialect)
        self._waiting[key] += n
        if self._waiting[key] <= 0:
            del self._waiting[key]

    # -- slots ----------------------------------------------------------------------------------

    def free(self, ticket: Ticket) -> int:
        """How many more calls the ticket's lane takes now."""
        lane = ticket.lane
        adapter = self._adapters.get(lane.adapter)
        if adapter is None:
            return 0
        if (lane.adapter, ticket.call.address) in self._silent:
            return 0
        if lane.alone or (lane.inflight and ticket.call.spec.order.alone):
            return 0
        caps = adapter.capabilities
        if self._inflight[lane.adapter] >= caps.total_inflight:
            self._starved.setdefault(lane.adapter, {})[lane.adapter, lane.key] = lane
            return 0
        return min(adapter.window(ticket.call.address) - lane.reserved, caps.per_device_inflight - lane.inflight)

    def _take_slot(self, ticket: Ticket) -> None:
        ticket.turn = Turn.RESERVED
        ticket.slot = True
        ticket.lane.inflight += 1
        ticket.lane.reserved += 1
        ticket.lane.alone = ticket.call.spec.order.alone
        self._inflight[ticket.lane.adapter] += 1

    def handed_over(self, ticket: Ticket) -> None:
        """The adapter counts this call in its own window from now on."""
        if ticket.turn is Turn.RESERVED:
            ticket.lane.reserved -= 1
        ticket.turn = Turn.SENT

    def take_up(self, ticket: Ticket) -> None:
        """A call that was under way before a restart: where its turn lasts until its end, it has its slot again."""
        if ticket.call.spec.order is Order.EXCLUSIVE:
            ticket.slot = ticket.lane.alone = True
            ticket.lane.inflight += 1
            self._inflight[ticket.lane.adapter] += 1

    def _give_slot(self, ticket: Ticket) -> bool:
        if not ticket.slot:
            return False
        ticket.slot = False
        ticket.lane.inflight -= 1
        ticket.lane.alone = False
        if ticket.turn is Turn.RESERVED:
            ticket.lane.reserved -= 1
        self._inflight[ticket.lane.adapter] -= 1
        return True

    def let_pass(self, ticket: Ticket) -> None:
        """The call needs its slot no longer, though it has not ended; one whose turn lasts until then keeps it."""
        if ticket.call.spec.order is not Order.EXCLUSIVE:
            self.free_slot(ticket)

    def free_slot(self, ticket: Ticket) -> None:
        """The ticket occupies its lane no longer; the next in line may go. Harmless when it had no slot."""
        if not self._give_slot(ticket):
            return
        self.pump(ticket.lane)
        starved = self._starved.get(ticket.lane.adapter)
        if starved:
            # In order of starving, so that no lane waits for ever behind busier ones.
            key = next(iter(starved))
            self.pump(starved.pop(key))

    # -- turns ----------------------------------------------------------------------------------

    def pump(self, lane: Lane) -> None:
        """Give slots to those whose turn it is; forget a lane that has nothing to do."""
        while self.open and lane.queue:
            now = self._clock.monotonic()
            ticket = lane.candidate(now)
            if ticket is None:
                self._look_again(lane, now)
                return
            if self.free(ticket) <= 0:
                if not ticket.parked and self._away(ticket):
                    ticket.parked = True
                    self._absent(ticket)
                return
            lane.queue.remove(ticket)
            self._count(ticket, -1)
            self._take_slot(ticket)
            if not self._due:
                asyncio.get_running_loop().call_soon(self._flush)
            self._due.append(ticket)
        self.forget(lane)

    def pump_all(self) -> None:
        """Look at every lane: at start, and as the poll that a lost ring costs."""
        for lane in list(self._lanes.values()):
            self.pump(lane)

    def wake(self, adapter: str, address: str) -> None:
        """A device showed up: those who wait for it may go, and pauses after failures are over."""
        self._silent.discard((adapter, address))
        tickets = self.of_device(adapter, address)
        for ticket in tickets:
            ticket.not_before = 0.0
        if tickets:
            self.pump(tickets[0].lane)

    def fell_silent(self, adapter: str, address: str) -> None:
        """Send nothing more to a device, whatever its adapter says, until it shows up."""
        self._silent.add((adapter, address))

    def _flush(self) -> None:
        due, self._due = self._due, []
        self._turns(due)

    def _away(self, ticket: Ticket) -> bool:
        adapter = self._adapters.get(ticket.lane.adapter)
        if (ticket.lane.adapter, ticket.call.address) in self._silent:
            return True
        return adapter is None or adapter.presence(ticket.call.address) is not Presence.ONLINE

    def _look_again(self, lane: Lane, now: float) -> None:
        """The head waits for a pause or for its commit: come back when the pause is over."""
        head = lane.queue[0]
        if lane.timer is None and head.turn is Turn.QUEUED and head.not_before > now:
            lane.timer = self._clock.call_at(head.not_before, self._looked, lane)

    def _looked(self, lane: Lane) -> None:
        lane.timer = None
        self.pump(lane)

    def forget(self, lane: Lane) -> None:
        """Keep no lane that has nothing to do. A lane that a lingering call still names may have been forgotten
        before; the one that has taken its place since stays."""
        key = (lane.adapter, lane.key)
        if lane.idle and self._lanes.get(key) is lane:
            del self._lanes[key]
