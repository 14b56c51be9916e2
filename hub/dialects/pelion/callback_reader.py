"""Callbacks as readers of our own: each takes batches from its application's queue and PUTs them, one at a time.

The next batch goes out when the one before was taken. A failure is repeated after 1, 2, 4 ... 120 seconds, and for a
day; then the callback is removed. How it stands is in its record, so a restart goes on with the schedule.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hub.core.channels import Channel
from hub.core.hub import Hub
from hub.core.on_behalf import on_behalf
from hub.core.tasks import Tasks
from hub.delivery.outgoing.client import outgoing_session
from hub.delivery.outgoing.guard import Guard
from hub.delivery.outgoing.places import Places
from hub.delivery.outgoing.put import Puts
from hub.dialects.pelion.channel import PelionChannels
from hub.dialects.pelion.channel_queue import Batch
from hub.dialects.pelion.record import Failing, PelionChannel, channel_of
from hub.dialects.pelion.wire import CALLBACK
from hub.model.errors import HubError, Unavailable
from hub.model.event import Position
from hub.model.record import Kind, Record
from hub.ports.clock import Timer, monotonic_at

LONGEST_PAUSE = timedelta(seconds=120)
PATIENCE = timedelta(hours=24)
STORAGE_PAUSE = 1.0
RESTART_PAUSE = 1.0
LOOK = 60.0
PLACE_PATIENCE = 60.0
"""Seconds that a batch waits for a place; then it is made anew, with what it may have lost meanwhile."""

_SECOND = timedelta(seconds=1)

log = logging.getLogger("hub.pelion")


def pause_after(failures: int) -> timedelta:
    """How long to wait after so many failures in a row: 1, 2, 4 ... 120 seconds."""
    return min(timedelta(seconds=2 ** min(max(0, failures - 1), 7)), LONGEST_PAUSE)


@dataclass(frozen=True, slots=True)
class _Schedule:
    """How a registration (`token`) stands: failures in a row, since when, when it is due (monotonic), and the end of
    the batch that was not taken."""

    token: str
    times: int = 0
    since: float | None = None
    due: float = 0.0
    upto: Position | None = None


class CallbackReader:
    """The reader of one application; `run` ends when the application has no callback any more."""

    def __init__(self, application: str, hub: Hub, channels: PelionChannels, readers: CallbackReaders) -> None:
        self._application = application
        self._hub = hub
        self._clock = hub.clock
        self._channels = channels
        self._readers = readers
        self._timer: Timer | None = None
        self._schedule: _Schedule | None = None
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Read and PUT until there is no callback, or cancelled: a batch under way is sent again by the next start."""
        followed: Channel | None = None
        unfollow: Callable[[], None] = _nothing
        try:
            while (found := self._callback()) is not None:
                self.wake.clear()
                try:
                    if followed is None or followed.deleted:
                        unfollow()
                        followed = await self._channels.queue.channel(found.application, found.account)
                        unfollow = followed.follow(lambda _: self.wake.set())
                    until = await self._step(found, followed)
                except HubError as failure:
                    # Storage that fails, or a hub that goes down: no fault of the receiver's.
                    log.warning("the callback of %s waits: %s", self._application, failure)
                    until = self._clock.monotonic() + STORAGE_PAUSE
                if until is not None:
                    await self._wait(until)
        finally:
            unfollow()
            if self._timer is not None:
                self._timer.cancel()

    def _callback(self) -> PelionChannel | None:
        found = self._channels.get(self._application)
        return found if found is not None and found.kind == CALLBACK else None

    async def _step(self, found: PelionChannel, channel: Channel) -> float | None:
        """Do what is due; until when (monotonic) to wait then, None for not at all."""
        schedule = self._schedule_of(found)
        now = self._clock.monotonic()
        if self._readers.halted:
            return now + LOOK
        if schedule.due > now:
            return schedule.due
        batch = await self._channels.queue.next(found.application, channel, self._channels.view(found), schedule.upto)
        if batch is None:
            return now + LOOK
        failed = await self._tell(found, batch)
        if failed is None:
            await self._taken(found, channel, batch)
        else:
            if not schedule.times:
                # Where the batch begins, so that a restart makes the same one of it.
                await self._channels.queue.settle(found.application, channel)
            await self._failed(found, schedule, batch, failed)
        return None

    async def _tell(self, found: PelionChannel, batch: Batch) -> str | None:
        if not self._hub.access.serves(found.key):
            # Not removed at once: a registration with another key takes over with everything that waits.
            return "the key that registered it does not serve"
        return await self._readers.deliver(found, batch.body)

    async def _taken(self, found: PelionChannel, channel: Channel, batch: Batch) -> None:
        self._schedule = _Schedule(found.token)
        await self._channels.queue.store(found.application, channel, batch.upto)
        self._hub.stats.callbacks_taken += 1
        if found.failing is not None and await self._channels.revise(found, failing=None) is not None:
            log.info("the callback of %s takes events again", found.application)

    async def _failed(self, found: PelionChannel, schedule: _Schedule, batch: Batch, why: str) -> None:
        now, wall = self._clock.monotonic(), self._clock.now()
        times = schedule.times + 1
        since = now if schedule.since is None else schedule.since
        if now - since >= PATIENCE / _SECOND:
            self._hub.stats.callbacks_dead += 1
            # This task ends with the record.
            await self._channels.end(found, "a day without success")
            return
        pause = pause_after(times)
        # In memory first: a schedule that cannot be stored is kept all the same.
        self._schedule = _Schedule(found.token, times, since, now + pause / _SECOND, batch.upto)
        if times == 1:
            log.warning("the callback of %s failed: %s", found.application, why)
        began = wall - timedelta(seconds=now - since)
        await self._channels.revise(found, failing=Failing(began, times, wall + pause, batch.upto))
        self._hub.stats.callbacks_failed += 1

    def _schedule_of(self, found: PelionChannel) -> _Schedule:
        """Where the callback stands: as known here, else as stored. Monotonic, so that the wall clock may step."""
        if self._schedule is None or self._schedule.token != found.token:
            failing, now = found.failing, self._clock.monotonic()
            self._schedule = _Schedule(found.token)
            if failing is not None:
                since = min(monotonic_at(self._clock, failing.since), now)
                due = min(monotonic_at(self._clock, failing.due_at), now + LONGEST_PAUSE / _SECOND)
                self._schedule = _Schedule(found.token, failing.times, since, due, failing.upto)
        return self._schedule

    async def _wait(self, until: float) -> None:
        self._timer = self._clock.call_at(until, self.wake.set)
        try:
            await self.wake.wait()
        finally:
            self._timer.cancel()


class CallbackReaders:
    """The readers of all applications, and the way out that they share."""

    def __init__(self, hub: Hub, channels: PelionChannels, guard: Guard, *, ssl: Any = True) -> None:
        self.halted = False
        self._hub = hub
        self._channels = channels
        self._guard = guard
        self._ssl = ssl
        self._puts: Puts | None = None
        self._tasks: Tasks | None = None
        self._readers: dict[str, tuple[CallbackReader, asyncio.Task[None]]] = {}
        limits = hub.limits
        self._places = Places(limits.callbacks_at_once, limits.callbacks_per_account, hub.clock)
        self._quiet = asyncio.Event()
        self._under_way = 0
        hub.directory.follow(Kind.CHANNEL, self._changed)

    async def run(self) -> None:
        """Serve callbacks until cancelled. Call while the hub is running."""
        async with outgoing_session(self._guard, ssl=self._ssl) as session:
            self._puts = Puts(session, self._hub.clock)
            tasks = self._tasks = Tasks()
            try:
                for found in self._channels.all():
                    self._look(found.application)
                await asyncio.Event().wait()
            finally:
                self._puts = self._tasks = None
                await tasks.close()

    async def put(self, url: str, headers: Mapping[str, str], body: bytes) -> str | None:
        """One PUT, as `Puts.put`. Raises Unavailable while the hub starts or ends."""
        if self._puts is None or self.halted:
            raise Unavailable("the hub is starting or going down", code="draining", retry_after=1)
        self._under_way += 1
        try:
            return await self._puts.put(url, headers, body)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._quiet.set()

    async def deliver(self, found: PelionChannel, body: bytes) -> str | None:
        """As `put`, in one of the places that the accounts share; Unavailable, too, when there is none for long."""
        async with self._places.place(found.account, PLACE_PATIENCE):
            with on_behalf(found.account):
                return await self.put(found.url, found.headers, body)

    async def drain(self, until: float) -> None:
        """Start nothing more and let what is under way end, at most to monotonic `until`."""
        self.halted = True
        clock = self._hub.clock
        timer = clock.call_at(until, self._quiet.set)
        try:
            while self._under_way and clock.monotonic() < until:
                self._quiet.clear()
                await self._quiet.wait()
        finally:
            timer.cancel()

    def _changed(self, application: str, record: Record | None) -> None:
        """A channel record was written or removed."""
        known = self._readers.get(application)
        found = channel_of(record)
        if found is not None and found.kind == CALLBACK:
            if known is None:
                self._look(application)
            else:
                known[0].wake.set()
        elif known is not None:
            known[1].cancel()

    def _look(self, application: str) -> None:
        """Start the reader that the application's record asks for, if it does and none is there."""
        found = channel_of(self._hub.directory.record(Kind.CHANNEL, application))
        if self._tasks is None or application in self._readers or found is None or found.kind != CALLBACK:
            return
        reader = CallbackReader(application, self._hub, self._channels, self)
        task = self._tasks.create_task(reader.run(), f"callback of {application}")
        self._readers[application] = reader, task
        task.add_done_callback(lambda ended: self._ended(application, ended))

    def _ended(self, application: str, task: asyncio.Task[None]) -> None:
        self._readers.pop(application, None)
        if self._tasks is not None:
            # Registered anew meanwhile; or the reader failed, and then it shall not spin.
            pause = 0.0 if task.cancelled() else RESTART_PAUSE
            self._hub.clock.call_at(self._hub.clock.monotonic() + pause, self._look, application)


def _nothing() -> None:
    """No channel is followed yet."""
