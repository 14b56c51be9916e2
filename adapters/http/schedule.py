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
GOLDEN = 0.618033988749895
TOGETHER = 0.25
"""A job that is due within this part of its own pause is asked after with those that are due now."""


class Job:
    """One job and those who wait for it. `bad`: nothing could be made of what was said of it last; `brief`: its result
    is too large to be asked for. `most`: of how many jobs a list may be in which it is asked after; `suspect`: the last
    such list was refused, so that it may be the one to blame. `alone`: it is asked after by itself, since the last list
    was without it, or what is said of it fits in none; `listed`: its id can stand in a list."""

    __slots__ = (
        "alone", "answers", "asked_at", "bad", "brief", "due", "hinted", "listed", "most", "pause", "ref", "suspect",
    )  # fmt: skip

    def __init__(self, ref: str, due: float, pause: float, hinted: bool, most: int) -> None:
        self.ref = ref
        self.due = due
        self.pause = pause
        self.hinted = hinted
        self.asked_at = float("-inf")
        self.bad = self.brief = self.suspect = False
        self.listed = most == 1 or _plain(ref)
        self.alone = not self.listed
        self.most = most
        self.answers: list[asyncio.Future[Told]] = []

    @property
    def fresh(self) -> bool:
        """Whether nothing speaks against a list with as many others as may be."""
        return not (self.bad or self.suspect or self.alone)

    def heard(self) -> None:
        """Something was made of what was said of it."""
        self.bad = self.suspect = False
        self.alone = self.brief or not self.listed


def by_age(job: Job) -> float:
    """Who was not asked after for longest comes first, whatever is known of it."""
    return job.asked_at


class Schedule:
    """The jobs of one upstream and when each is due; times are of the monotonic clock."""

    def __init__(self, settings: HttpSettings, clock: Clock, most: int) -> None:
        self._clock = clock
        self._most = most
        self._interval = settings.interval.total_seconds()
        self._most_pause = settings.interval_most.total_seconds()
        self._jobs: dict[str, Job] = {}
        self._failures = 0
        self._patient = False
        self._bad_failures = 0
        self._bad_not_before = float("-inf")
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
            job = Job(ref, self._clock.monotonic() + pause, self._interval, first is not None, self._most)
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

    def round(self) -> list[Job]:
        """Begin a round: the jobs that are due, and in questions that are asked anyway those that are due next. A round
        may break off, and has only so many requests: first come those that were not asked after for longest, then those
        that may be to blame for a list that was refused or are asked after by themselves, last those that are bad."""
        now = self._clock.monotonic()
        due = [job for job in self._jobs.values() if self._due(job) <= now or self._nearly(job, now)]
        listed = sum(job.fresh for job in due)
        room = -listed % self._most
        if listed and room:
            asked = set(due)
            others = (job for job in self._jobs.values() if job.fresh and not (job in asked or job.hinted))
            due += heapq.nsmallest(room, others, key=_by_due)
        self._asked_at = now
        due.sort(key=_by_asked)
        if self._failures and self._most == 1:
            # Those that spoil a round may stand side by side: it begins all over the place.
            fresh = [job for job in due if not job.bad]
            return [*_spread(fresh), *due[len(fresh) :]]
        return due

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
        self._failures = self._bad_failures = 0

    def back(self) -> None:
        """The upstream was away, and answers again: nothing is held off any more but for patience that it asked for."""
        self._failures = self._bad_failures = 0
        self._bad_not_before = float("-inf")
        if not self._patient:
            self.not_before = float("-inf")
            self._news.set()

    def hold_off(self, pause: float | None) -> None:
        """A question was not answered: nothing more is asked for a while, or for as long as the upstream said."""
        self._failures += 1
        self._patient = pause is not None
        if pause is None:
            pause = self._failure_pause(self._failures)
        self.not_before = self._clock.monotonic() + min(pause, MOST_PAUSE)

    def rest_from_bad(self) -> None:
        """The jobs that are bad are so still: they are let be for a while. Of the others that says nothing."""
        self._bad_failures += 1
        self._bad_not_before = self._clock.monotonic() + self._failure_pause(self._bad_failures)

    def _failure_pause(self, failures: int) -> float:
        pause = min(MOST_FAILURE_PAUSE, self._interval * GROWTH ** min(failures, 20))
        return pause * self._chance.uniform(1 - JITTER, 1 + JITTER)

    def _due(self, job: Job) -> float:
        spacing = LEAST_PAUSE if job.hinted else self._interval
        due = max(job.due, self._asked_at + spacing, self.not_before)
        return max(due, self._bad_not_before) if job.bad else due

    def _nearly(self, job: Job, now: float) -> bool:
        if job.hinted or (job.bad and self._bad_not_before > now):
            return False
        return job.due <= now + job.pause * TOGETHER


def _spread(jobs: list[Job]) -> list[Job]:
    """The same jobs, neighbours far apart."""
    places = sorted(range(len(jobs)), key=lambda place: place * GOLDEN % 1)
    return [jobs[place] for place in places]


def _by_due(job: Job) -> float:
    return job.due


def _by_asked(job: Job) -> tuple[bool, bool, float]:
    return job.bad, not job.fresh, job.asked_at


def _plain(ref: str) -> bool:
    """Whether an id can stand in a list of ids as it is."""
    return ref.isascii() and all(char.isalnum() or char in "-_.:~" for char in ref)
