"""Carries deliveries out: rows that are due, a queue for each endpoint, the schedule on disk.

Rows are the truth, all here is memory of them: a lost ring costs nothing but the wait for the next timer, a restart
goes on with the schedule. What one attempt is: `attempt.py`. When the next one is: `retry.py`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import datetime

from hub.core.access import Access
from hub.core.limits import Limits
from hub.core.on_behalf import on_behalf
from hub.core.stats import Stats
from hub.core.tasks import Tasks
from hub.delivery.outgoing.attempt import Attempts
from hub.delivery.outgoing.endpoint import Endpoints
from hub.delivery.outgoing.held import Held, Queue
from hub.delivery.outgoing.retry import Result, Tried, next_try
from hub.delivery.outgoing.signing import message_id
from hub.model.delivery import Delivery
from hub.model.errors import Damaged, StorageFailed
from hub.model.event import Event
from hub.ports.clock import Clock, Timer, monotonic_at
from hub.ports.engine import Outbox, Ringing

PAGE = 256
LONGEST_SLEEP = 60.0
STORAGE_PAUSE = 1.0
MOST_GONE = 1024

log = logging.getLogger("hub.callbacks")
audit = logging.getLogger("hub.audit")


class Courier:
    """Delivers until it is cancelled. `luck` (0..1) spreads the pauses."""

    def __init__(
        self,
        outbox: Outbox,
        endpoints: Endpoints,
        access: Access,
        clock: Clock,
        limits: Limits,
        stats: Stats,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._endpoints = endpoints
        self._access = access
        self._clock = clock
        self._stats = stats
        self._luck = luck
        self._held = Held(limits, endpoints.failing)
        self._passed: set[int] = set()
        self._settled: set[int] = set()
        self._gone: dict[tuple[str, str | None], datetime] = {}
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()
        self._look_again = True
        self._halted = False
        self._timer: Timer | None = None

    @property
    def under_way(self) -> int:
        """Deliveries that are being tried now."""
        return self._held.under_way

    async def run(self, attempts: Attempts, ringing: Ringing) -> None:
        """Deliver until cancelled; what is under way then is repeated by the next start."""
        tasks = Tasks()
        tasks.create_task(self._hear(ringing), "outbox bell")
        try:
            while True:
                self._wake.clear()
                if not self._halted:
                    await self._work(attempts, tasks)
                await self._wake.wait()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await tasks.close()

    def halt(self) -> None:
        """Start no attempt any more."""
        self._halted = True

    async def quiet(self, until: float) -> bool:
        """Wait until nothing is under way, at most to monotonic `until`; whether it came to that."""
        timer = self._clock.call_at(until, self._quiet.set)
        try:
            while self.under_way and self._clock.monotonic() < until:
                self._quiet.clear()
                await self._quiet.wait()
        finally:
            timer.cancel()
        return not self.under_way

    def forgive(self, delivery: Delivery) -> None:
        """A URL that said 410 may be tried again, at somebody's wish."""
        self._gone.pop((delivery.endpoint, delivery.url), None)

    async def _hear(self, ringing: Ringing) -> None:
        while True:
            await ringing.wait()
            self._look()

    def _look(self) -> None:
        self._look_again = True
        self._wake.set()

    # -- which rows ------------------------------------------------------------------------------

    async def _work(self, attempts: Attempts, tasks: Tasks) -> None:
        """Start what may start; read what is due until there is nothing new; set the timer for what comes next."""
        self._pump(attempts, tasks)
        if not self._look_again:
            return
        # One moment for both questions: a row that becomes due between them would be in neither answer.
        now = self._clock.now()
        try:
            while self._look_again:
                self._look_again = False
                now = self._clock.now()
                if await self._fetch(now):
                    self._look_again = True
                self._pump(attempts, tasks)
            self._sleep(await self._outbox.next_due(now))
        except (StorageFailed, Damaged) as failure:
            log.warning("due deliveries cannot be read: %s", failure)
            self._arm(self._clock.monotonic() + STORAGE_PAUSE)

    async def _fetch(self, now: datetime) -> bool:
        """Take due rows into memory; whether there may be more. Who has enough there is not asked for more."""
        left_out = self._held.left_out()
        self._settled.clear()
        page = PAGE + self._held.under_way
        rows = await self._outbox.due(now, page, left_out.endpoints, left_out.applications, left_out.accounts)
        more = False
        for row in rows:
            if row.id in self._held:
                # Most likely under way; but it may be over and due anew (a replay), so look again after it.
                self._passed.add(row.id)
            elif row.id in self._settled:
                # Settled while the reader looked: what it saw is old.
                self._look_again = True
            elif self._held.take(row):
                more = True
        return more and len(rows) >= page

    def _sleep(self, due: datetime | None) -> None:
        if due is not None and due <= self._clock.now():
            self._look()  # it became due while the reader looked
            return
        latest = self._clock.monotonic() + LONGEST_SLEEP
        self._arm(latest if due is None else min(latest, monotonic_at(self._clock, due)))

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_at(when, self._look)

    def _pump(self, attempts: Attempts, tasks: Tasks) -> None:
        """Start all that may start, by turns."""
        started = True
        while started and not self._halted:
            started = False
            for queue, delivery in self._held.next_round():
                started = True
                self._start(queue, delivery, attempts, tasks)
                if self._held.has_more(queue):
                    self._look_again = True

    def _start(self, queue: Queue, delivery: Delivery, attempts: Attempts, tasks: Tasks) -> None:
        task = tasks.create_task(self._carry(delivery, attempts), "delivery")
        # Not a finally of the task: one that is cancelled before its first step never gets there.
        task.add_done_callback(lambda task: self._over(queue, delivery, task))

    def _over(self, queue: Queue, delivery: Delivery, task: asyncio.Task[bool]) -> None:
        self._settled.add(delivery.id)
        there = task.cancelled() or task.exception() is not None or task.result()
        if self._held.over(queue, delivery.id) or (there and delivery.id in self._passed):
            self._look_again = True
        self._passed.discard(delivery.id)
        self._wake.set()
        if not self.under_way:
            self._quiet.set()

    # -- one delivery ----------------------------------------------------------------------------

    async def _carry(self, delivery: Delivery, attempts: Attempts) -> bool:
        """One attempt and what is written of it; whether the row is still there."""
        try:
            tried = await self._attempt(delivery, attempts)
        except StorageFailed as failure:
            # Nothing was sent, and it is no fault of the receiver's.
            log.warning("a delivery cannot be read, trying again: %s", failure)
            await self._clock.sleep_until(self._clock.monotonic() + STORAGE_PAUSE)
            self._passed.add(delivery.id)
            return True
        except Exception as error:
            # Whatever it is, the row must move on: unsettled it would be due again at once, for ever.
            log.exception("delivery %d", delivery.id)
            tried = Tried(Result.FAILED, f"the hub failed ({type(error).__name__})")
        if tried is None:
            return False
        await self._settle(delivery, tried)
        return tried.result is not Result.TAKEN

    async def _attempt(self, delivery: Delivery, attempts: Attempts) -> Tried | None:
        event = await self._outbox.event(delivery.id)
        if event is None:
            return None
        refused = self._refused(delivery, event)
        with on_behalf(delivery.account):
            return refused or await attempts.make(delivery, event)

    def _refused(self, delivery: Delivery, event: Event) -> Tried | None:
        """Why nothing is sent at all."""
        key = (delivery.attrs or {}).get("key")
        if isinstance(key, str) and not self._access.serves(key):
            return Tried(Result.GONE, "the key that asked for it was revoked")
        gone = self._gone.get((delivery.endpoint, delivery.url))
        if gone is not None and event.at <= gone:
            return Tried(Result.GONE, "HTTP 410 to an earlier one")
        return Tried(Result.GONE, "no URL") if delivery.url is None else None

    async def _settle(self, delivery: Delivery, tried: Tried) -> None:
        """Write down what came of an attempt. While that cannot be written nothing else is sent in its place."""
        while True:
            try:
                await self._write(delivery, tried)
                return
            except StorageFailed as failure:
                log.warning("the outcome of a delivery cannot be stored, trying again: %s", failure)
                self._stats.storage_failures += 1
                await self._clock.sleep_until(self._clock.monotonic() + STORAGE_PAUSE)

    async def _write(self, delivery: Delivery, tried: Tried) -> None:
        if tried.result is Result.TAKEN:
            await self._endpoints.succeeded(delivery)
            await self._outbox.delivered(delivery.id)
            self._stats.callbacks_taken += 1
            return
        now = self._clock.now()
        due = None
        if tried.result is Result.FAILED:
            await self._endpoints.failed(delivery)
            if not self._endpoints.disabled(delivery.endpoint):
                due = next_try(delivery.attempts + 1, now, self._luck(), tried.retry_after)
        elif tried.error == "HTTP 410":
            self._remember_gone(delivery, now)
        await self._outbox.failed(delivery.id, tried.error, due)
        self._stats.callbacks_failed += 1
        if due is None:
            self._stats.callbacks_dead += 1
            id = message_id(delivery.epoch, delivery.offset)
            audit.warning("dead letter", extra={"endpoint": delivery.endpoint, "id": id, "error": tried.error})
        else:
            self._look()

    def _remember_gone(self, delivery: Delivery, now: datetime) -> None:
        if len(self._gone) >= MOST_GONE:
            del self._gone[next(iter(self._gone))]
        self._gone[delivery.endpoint, delivery.url] = now
        audit.warning("callback gone", extra={"endpoint": delivery.endpoint})
