"""Which jobs of one upstream belong to calls, and which changes may have left a job that nobody knows.

What this process took and gave up is in memory. What reaches back further is asked of the journal, once: of each call
that was open since then, the jobs of its note, and whether anybody knows what became of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

from adapters.http import note as notes
from hub.model.errors import HubError
from hub.ports.clock import Clock
from hub.ports.past_call import PastCall, RecallsCalls

MOST_KNOWN = 50_000

log = logging.getLogger("hub.http")


class Owned:
    """Jobs with an owner. `question`: what a call of the past would have been looked for by; None for one that made no
    job here."""

    def __init__(self, past: RecallsCalls | None, clock: Clock, question: Callable[[PastCall], str | None]) -> None:
        self._past = past
        self._clock = clock
        self._question = question
        self._jobs: OrderedDict[str, datetime] = OrderedDict()
        self._orphans: OrderedDict[str, datetime] = OrderedDict()
        self._whole_since = clock.now()
        self._reading = asyncio.Lock()

    def __contains__(self, job: str) -> bool:
        return job in self._jobs

    def know(self, *jobs: str) -> None:
        """Jobs that belong to a call."""
        for job in jobs:
            self._keep(self._jobs, job, self._clock.now())

    def orphaned(self, question: str | None) -> None:
        """A change that would be looked for like this may, or may yet, have become a job that nobody knows."""
        if question is not None:
            self._keep(self._orphans, question, self._clock.now())

    def doubtful(self, question: str, since: datetime) -> bool:
        """Whether a job that is found like this, and began at `since` or later, may be that of an orphan."""
        given_up = self._orphans.get(question)
        return given_up is not None and given_up >= since

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
        question = self._question(call)
        if question is None:
            return
        at = call.ended_at or self._clock.now()
        if call.note is None:
            if call.unknown:
                self._keep(self._orphans, question, at)
            return
        try:
            kept = notes.decoded(call.note)
        except ValueError:
            self._keep(self._orphans, question, at)
            return
        for job in (kept.job, *kept.before):
            self._keep(self._jobs, job, at)

    def _keep(self, kept: OrderedDict[str, datetime], key: str, at: datetime) -> None:
        kept[key] = max(at, kept.get(key, at))
        kept.move_to_end(key)
        while len(kept) > MOST_KNOWN:
            _, forgotten = kept.popitem(last=False)
            # Who looks for something that began before that has to ask the journal.
            self._whole_since = max(self._whole_since, forgotten + datetime.resolution)
