"""An open call in memory (Ticket), and the queue of its concurrency domain (Lane).

All of it is rebuilt from the journal at start; nothing here is the truth. A ticket joins its lane before
the accept commit, so that two callers who ask at once are sent in the order in which they were committed.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque

import anyio

from hub.model.call import Call, CallState, Order, Stage
from hub.model.outcome import Outcome
from hub.ports.clock import Timer


class Turn(enum.Enum):
    """Where a ticket stands.

    JOINING: the accept commit is under way. QUEUED: may be sent when its turn comes. RESERVED: holds a slot, the
    claim is being written. SENT: an attempt runs. LINGERING: no attempt runs, a late answer may come. HELD: the far
    side has the job. ENDING: the end is being written.
    """

    JOINING = "joining"
    QUEUED = "queued"
    RESERVED = "reserved"
    SENT = "sent"
    LINGERING = "lingering"
    HELD = "held"
    ENDING = "ending"


class Ticket:
    """One open call. `slot` says whether it occupies its lane now; `hit` is the answer that was kept for it; `before`
    how it ends when it is not sent again, if it may have been sent before."""

    __slots__ = (
        "attempt", "attempt_deadline", "before", "call", "committed", "deadline", "ended", "expires", "guard", "hit",
        "lane", "life", "not_before", "note", "parked", "queued", "retries_used", "running", "scope", "slot", "timer",
        "turn", "waiters",
    )

    def __init__(self, call: Call, lane: Lane, deadline: float, expires: float) -> None:
        self.call = call
        self.lane = lane
        self.deadline = deadline
        self.expires = expires
        self.attempt = 0
        self.attempt_deadline = deadline
        self.before: Outcome | None = None
        self.committed = False
        self.ended: asyncio.Future[None] | None = None
        self.guard: Timer | None = None
        self.hit: Outcome | None = None
        self.life = 0
        self.not_before = 0.0
        self.note: bytes | None = None
        self.parked = call.stage is Stage.PARKED
        self.queued = False
        self.retries_used = 0
        self.running = False
        self.scope: anyio.CancelScope | None = None
        self.slot = False
        self.timer: Timer | None = None
        self.turn = Turn.JOINING
        self.waiters: list[asyncio.Future[None]] | None = None

    def restore(self, state: CallState) -> None:
        """Take over what the journal knows of the call after a restart."""
        self.attempt = state.attempt
        self.retries_used = state.retries_used
        self.note = state.note
        self.committed = True

    def told_ended(self) -> None:
        """Wake those who wait for the end that was begun."""
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)

    def quiet(self) -> None:
        """Call off both timers."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.guard is not None:
            self.guard.cancel()
            self.guard = None


class Lane:
    """The unsent calls of one concurrency domain, in order, and how many are under way."""

    __slots__ = ("adapter", "alone", "inflight", "key", "queue", "reserved", "timer")

    def __init__(self, adapter: str, key: str) -> None:
        self.adapter = adapter
        self.key = key
        self.queue: deque[Ticket] = deque()
        self.alone = False
        self.inflight = 0
        self.reserved = 0
        self.timer: Timer | None = None

    @property
    def idle(self) -> bool:
        """Whether the lane can be forgotten."""
        return not self.queue and not self.inflight and self.timer is None

    def candidate(self, now: float, depth: int = 64) -> Ticket | None:
        """The ticket whose turn it is: the head, or, while that must wait, the first PARALLEL one behind it."""
        for index, ticket in enumerate(self.queue):
            # One whose time to wait is over is ended by its own timer, which may be a moment late after a restart.
            ready = ticket.turn is Turn.QUEUED and ticket.not_before <= now < ticket.expires
            if ready and (index == 0 or ticket.call.spec.order is Order.PARALLEL):
                return ticket
            if index >= depth:
                break
        return None
