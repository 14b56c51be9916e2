"""When jobs are asked after: what their upstream says, else a pause that grows while a job stays at work.

Between two rounds lies the interval of the settings, also for a job that has just come; a question that is not answered
holds everything off for a while.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Iterator

from adapters.http.settings import HttpSettings
from adapters.http.told import AtWork, Told
from adapters.http.wire import LEAST_PAUSE, MOST_PAUSE
from hub.ports.clock import Clock

GROWTH = 1.5
JITTER = 0.2
MOST_FAILURE_PAUSE = 30.0
TOGETHER = 0.25
"""A job that is due within this part of its own pause is asked after with those that are due now."""


class Job:
    """One job and those who wait for it. `bad`: nothing could be made of what was said of it last; `brief`: its result
    is too large to be asked for."""

    __slots__ = ("answers", "asked_at", "bad", "brief", "due", "hinted", "pause", "ref")

    def __init__(self, ref: str, due: float, pause: float, hinted: bool) -> None:
        self.ref = ref
        self.due = due
        self.pause = pause
        self.hinted = hinted
        self.asked_at = float("-inf")
        self.bad = self.brief = False
        self.answers: list[asyncio.Future[Told]] = []


class Schedule:
    """The jobs of one upstream and when each is due; times are of the monotonic clock."""

    def __init__(self, settings: HttpSettings, clock: Clock) -> None:
        self._clock = clock
        self._interval = settings.interval.total_seconds()
        self._most_pause = settings.interval_most.total_seconds()
        self._jobs: dict[str, Job] = {}
        self._failures = 0
        self._asked_at = float("-inf")
        self._wake_at = float("inf")
        self._news = asyncio.Event()
        self._chance = random.Random()
        self.not_before = float("-inf")

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    @property
    def asking(self) -> bool:
        """Whether a round is under way."""
        return self._wake_at == float("-inf")

    def take(self, ref: str, first: float | None) -> Job:
        """A job, new or known; `first`: in how many seconds a new one is worth asking after."""
        job = self._jobs.get(ref)
        if job is None:
            pause = self._interval if first is None else min(first, MOST_PAUSE)
            job = Job(ref, self._clock.monotonic() + pause, self._interval, first is not None)
            self._jobs[ref] = job
            if self._due(job) < self._wake_at:
                self._news.set()
        return job

    def drop(self, job: Job) -> None:
        """Nobody waits for a job any more."""
        if self._jobs.get(job.ref) is job:
            del self._jobs[job.ref]

    async def until_due(self) -> None:
        """Return when a round is due."""
        while True:
            self._news.clear()
            due = min((self._due(job) for job in self._jobs.values()), default=float("inf"))
            if due <= self._clock.monotonic():
                self._wake_at = float("-inf")
                return
            self._wake_at = due
            timer = None if due == float("inf") else self._clock.call_at(due, self._news.set)
            try:
                await self._news.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    def round(self, batch: int) -> list[Job]:
        """Begin a round: the jobs that are due, and in questions that are asked anyway those that are due next. A round
        may break off: first come those that were not asked after for longest, last those that are bad."""
        now = self._clock.monotonic()
        due = [job for job in self._jobs.values() if self._due(job) <= now or self._nearly(job, now)]
        listed = sum(not job.bad for job in due)
        room = -listed % batch
        if listed and room:
            asked = set(due)
            others = (job for job in self._jobs.values() if not (job in asked or job.hinted or job.bad))
            due += heapq.nsmallest(room, others, key=_by_due)
        self._asked_at = now
        return sorted(due, key=_by_asked)

    def again(self, job: Job, asked_at: float, told: AtWork) -> None:
        """Say when a job that is still at work is asked after again."""
        job.hinted = told.again is not None
        if told.again is not None:
            job.due = asked_at + max(LEAST_PAUSE, min(told.again, MOST_PAUSE))
        elif told.estimate is not None and told.estimate > 0:
            # A guess: it neither hurries nor puts off beyond what is usual.
            job.due = asked_at + max(self._interval, min(told.estimate, self._most_pause))
        elif job.due <= asked_at + job.pause * TOGETHER:
            # One that was only asked along keeps its turn.
            job.pause = min(self._most_pause, job.pause * GROWTH)
            job.due = asked_at + job.pause * self._chance.uniform(1 - JITTER, 1 + JITTER)

    def later(self, job: Job, asked_at: float, pause: float | None = None) -> None:
        """Nothing can be made of what was said of one job: that one waits, for `pause` where its upstream said so, and
        from the second time on no shorter than it took to learn that."""
        now = self._clock.monotonic()
        job.due = min(job.due, asked_at)
        self.again(job, asked_at, AtWork(pause))
        if job.bad:
            job.due = max(job.due, now + min(now - asked_at, MOST_FAILURE_PAUSE))
        job.bad = True

    def answered(self) -> None:
        """A question was answered."""
        self._failures = 0

    def hold_off(self, pause: float | None) -> None:
        """A question was not answered: nothing more is asked for a while, or for as long as the upstream said."""
        self._failures += 1
        if pause is None:
            pause = min(MOST_FAILURE_PAUSE, self._interval * GROWTH ** min(self._failures, 20))
            pause *= self._chance.uniform(1 - JITTER, 1 + JITTER)
        self.not_before = self._clock.monotonic() + min(pause, MOST_PAUSE)

    def _due(self, job: Job) -> float:
        spacing = LEAST_PAUSE if job.hinted else self._interval
        return max(job.due, self._asked_at + spacing, self.not_before)

    def _nearly(self, job: Job, now: float) -> bool:
        return not job.hinted and job.due <= now + job.pause * TOGETHER


def _by_due(job: Job) -> float:
    return job.due


def _by_asked(job: Job) -> tuple[bool, float]:
    return job.bad, job.asked_at
