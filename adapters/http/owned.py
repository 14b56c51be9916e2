"""Which jobs of one upstream belong to calls, and which changes may have left a job that nobody knows.

What this process took and gave up is in memory. What reaches back further is asked of the journal, once: of each call
that was open since then, the jobs of its note, and whether anybody knows what became of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

import anyio

from adapters.http import note as notes
from adapters.http.question import Likeness
from hub.model.errors import HubError
from hub.ports.adapter import Delivery, DeviceTimeout
from hub.ports.clock import Clock
from hub.ports.past_call import PastCall, RecallsCalls

MOST_KNOWN = 50_000

_Key = TypeVar("_Key", str, Likeness)

log = logging.getLogger("hub.http")


class Owned:
    """Jobs with an owner. `likeness`: what the job of a call of the past is known by; None for one that made no job
    here."""

    def __init__(
        self, past: RecallsCalls | None, clock: Clock, likeness: Callable[[PastCall], Likeness | None]
    ) -> None:
        self._past = past
        self._clock = clock
        self._likeness = likeness
        self._jobs: OrderedDict[str, datetime] = OrderedDict()
        self._proven: OrderedDict[str, datetime] = OrderedDict()
        self._orphans: OrderedDict[Likeness, datetime] = OrderedDict()
        self._finders: dict[str, anyio.CancelScope] = {}
        self._whole_since = clock.now()
        self._reading = asyncio.Lock()

    def __contains__(self, job: str) -> bool:
        return job in self._jobs

    def know(self, *jobs: str) -> None:
        """Jobs that belong to a call."""
        for job in jobs:
            self._keep(self._jobs, job, self._clock.now())

    def prove(self, job: str) -> None:
        """An answer gave this job to a call: one that had only found it has it no more."""
        self.know(job)
        self._keep(self._proven, job, self._clock.now())
        finder = self._finders.get(job)
        if finder is not None:
            log.warning("job %s was taken for that of a lost change, and is another's", job)
            finder.cancel()

    @contextmanager
    def found(self, job: str) -> Iterator[None]:
        """A job is waited for that was only found. Raises DeviceTimeout (MAYBE) once it turns out to be another's."""
        with anyio.CancelScope() as scope:
            if job in self._proven or job in self._finders:
                scope.cancel()
            self._finders.setdefault(job, scope)
            try:
                yield
                return
            finally:
                if self._finders.get(job) is scope:
                    del self._finders[job]
        raise DeviceTimeout("the job that was found is another call's", delivery=Delivery.MAYBE)

    def orphaned(self, likeness: Likeness | None) -> None:
        """A change like this may, or may yet, have become a job that nobody knows."""
        if likeness is not None:
            self._keep(self._orphans, likeness, self._clock.now())

    def doubtful(self, likeness: Likeness, since: datetime) -> bool:
        """Whether a job that is found like this, and began at `since` or later, may be that of an orphan."""
        return any(at >= since and one.overlaps(likeness) for one, at in self._orphans.items())

    async def whole_since(self, since: datetime) -> bool:
        """Whether every owner is known of jobs that began at `since` or later; what is missing is read now."""
        async with self._reading:
            if since < self._whole_since:
                await self._read(since)
            return since >= self._whole_since

    async def _read(self, since: datetime) -> None:
        if self._past is None:
            return
        before, self._whole_since = self._whole_since, since
        try:
            async for call in self._past.calls_since(since):
                self._recall(call)
        except HubError as error:
            log.warning("the calls of the past cannot be read: %s", error)
            self._whole_since = max(before, self._whole_since)
        except BaseException:
            self._whole_since = max(before, self._whole_since)
            raise

    def _recall(self, call: PastCall) -> None:
        likeness = self._likeness(call)
        if likeness is None:
            return
        at = call.ended_at or self._clock.now()
        if call.note is None:
            if call.unknown:
                self._keep(self._orphans, likeness, at)
            return
        try:
            kept = notes.decoded(call.note)
        except ValueError:
            self._keep(self._orphans, likeness, at)
            return
        for job in (kept.job, *kept.before):
            self._keep(self._jobs, job, at)

    def _keep(self, kept: OrderedDict[_Key, datetime], key: _Key, at: datetime) -> None:
        kept[key] = max(at, kept.get(key, at))
        kept.move_to_end(key)
        while len(kept) > MOST_KNOWN:
            _, forgotten = kept.popitem(last=False)
            # Who looks for something that began before that has to ask the journal.
            self._whole_since = max(self._whole_since, forgotten + datetime.resolution)
