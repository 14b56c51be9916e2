"""The jobs that one upstream holds, asked after by one questioner for everybody who waits.

A job is due when its upstream said so (Retry-After, its own estimate), else after a pause that grows while it stays at
work. One question is under way at a time, as many jobs in each as fit where the upstream can answer that, and between
two rounds lies the interval of the settings.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from datetime import datetime, timedelta

from adapters.http.pace import Pace
from adapters.http.settings import HttpSettings
from adapters.http.shape import JobShape
from adapters.http.told import AtWork, Ended, Told, id_of, of_answer, of_row, rows
from adapters.http.upstream import Upstream
from adapters.http.wire import LEAST_PAUSE, MOST_PAUSE, Answer, filled, response_of, retry_after
from hub.ports.adapter import CallError, Delivery, DeviceTimeout, NotConnected, Unreachable
from hub.ports.clock import Clock

MOST_IDS = 100
MOST_URL = 4000
GROWTH = 1.5
JITTER = 0.2
MOST_FAILURE_PAUSE = 30.0
TOGETHER = 0.25
"""A job that is due within this part of its own pause is asked after with those that are due now."""
GROW_AFTER = 60.0
"""Seconds after which as many jobs again are asked after at once, where fewer had to be."""
BATCH_ANSWER = 16 * 1024 * 1024

log = logging.getLogger("hub.http")


class Job:
    """One job and those who wait for it."""

    __slots__ = ("answers", "due", "hinted", "pause", "ref")

    def __init__(self, ref: str, due: float, pause: float, hinted: bool) -> None:
        self.ref = ref
        self.due = due
        self.pause = pause
        self.hinted = hinted
        self.answers: list[asyncio.Future[Told]] = []


class Jobs:
    """Asks after jobs until nobody waits."""

    def __init__(self, upstream: Upstream, shape: JobShape, settings: HttpSettings, clock: Clock) -> None:
        self._upstream = upstream
        self._shape = shape
        self._clock = clock
        self._answer = settings.answer.total_seconds()
        self._interval = settings.interval.total_seconds()
        self._most_pause = settings.interval_most.total_seconds()
        self._most_answer = settings.max_answer
        self._pace = Pace(clock, settings.requests_per_second)
        self._jobs: dict[str, Job] = {}
        self._batch = self._most_batch = MOST_IDS if shape.many else 1
        self._grow_at = float("inf")
        self._failures = 0
        self._asked_at = float("-inf")
        self._not_before = float("-inf")
        self._wake_at = float("inf")
        self._news = asyncio.Event()
        self._chance = random.Random()
        self._stopping = False
        self.rounds = 0
        self.polls = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, ref: str) -> bool:
        return ref in self._jobs

    @property
    def asking(self) -> bool:
        """Whether a round is under way."""
        return self._wake_at == float("-inf")

    async def told(self, ref: str, deadline: float, first: float | None = None) -> Told:
        """What became of a job, once it is over; `first`: in how many seconds it is worth asking.

        Raises DeviceTimeout (DELIVERED) at the deadline, or when its upstream does not know it any more, and
        NotConnected when the hub stops.
        """
        if self._stopping:
            raise NotConnected("the hub is stopping", delivery=Delivery.MAYBE)
        answer: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        job = self._jobs.get(ref)
        if job is None:
            now = self._clock.monotonic()
            pause = self._interval if first is None else min(first, MOST_PAUSE)
            job = self._jobs[ref] = Job(ref, now + pause, self._interval, first is not None)
            self._rouse(self._due(job))
        job.answers.append(answer)
        over = self._clock.call_at(deadline, _fail, answer, "the job did not end in time")
        try:
            return await answer
        finally:
            over.cancel()
            job.answers.remove(answer)
            if not job.answers and self._jobs.get(ref) is job:
                del self._jobs[ref]

    def stop(self) -> None:
        """Let go of everybody who waits; the jobs go on where they are."""
        self._stopping = True
        for job in list(self._jobs.values()):
            for answer in job.answers:
                if not answer.done():
                    answer.set_exception(NotConnected("the hub is stopping", delivery=Delivery.MAYBE))

    async def run(self) -> None:
        """Ask, for as long as the adapter lives."""
        while True:
            await self._until_due()
            try:
                await self._round()
            except Exception:
                # Everybody's jobs hang on this task: it outlives what nobody thought of.
                log.exception("%s: a round of questions failed", self._upstream.name)
                self._hold_off(None)

    # -- when -----------------------------------------------------------------------------------

    def _due(self, job: Job) -> float:
        spacing = LEAST_PAUSE if job.hinted else self._interval
        return max(job.due, self._asked_at + spacing, self._not_before)

    def _rouse(self, due: float) -> None:
        if due < self._wake_at:
            self._news.set()

    async def _until_due(self) -> None:
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

    def _again(self, job: Job, asked_at: float, told: AtWork) -> None:
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

    def _later(self, job: Job, asked_at: float) -> None:
        """What was said of one job cannot be read: that one waits."""
        job.due = min(job.due, asked_at)
        self._again(job, asked_at, AtWork())

    def _hold_off(self, pause: float | None) -> None:
        """A question was not answered: nothing more is asked for a while."""
        self._failures += 1
        if pause is None:
            pause = min(MOST_FAILURE_PAUSE, self._interval * GROWTH ** min(self._failures, 20))
            pause *= self._chance.uniform(1 - JITTER, 1 + JITTER)
        self._not_before = self._clock.monotonic() + min(pause, MOST_PAUSE)

    # -- what -----------------------------------------------------------------------------------

    async def _round(self) -> None:
        now = self._clock.monotonic()
        if now >= self._grow_at:
            self._batch = min(self._most_batch, self._batch * 2)
            self._grow_at = now + GROW_AFTER if self._batch < self._most_batch else float("inf")
        due = [job for job in self._jobs.values() if self._due(job) <= now or self._nearly(job, now)]
        self._fill(due)
        self._asked_at = now
        self.rounds += 1
        index = 0
        while index < len(due):
            chunk = self._chunk(due, index)
            await self._pace.turn()
            if not await self._ask([job for job in chunk if job.answers]):
                return
            index += len(chunk)

    def _fill(self, due: list[Job]) -> None:
        """A question that is asked anyway costs no more with other jobs in it: those that are due next."""
        room = -len(due) % self._batch
        if due and room:
            asked = set(due)
            others = (job for job in self._jobs.values() if job not in asked and not job.hinted)
            due += heapq.nsmallest(room, others, key=_by_due)

    def _nearly(self, job: Job, now: float) -> bool:
        return not job.hinted and job.due <= now + job.pause * TOGETHER

    def _chunk(self, due: list[Job], index: int) -> list[Job]:
        chunk: list[Job] = []
        room = MOST_URL - len(str(self._upstream.base)) - len(self._shape.many)
        for job in due[index : index + self._batch]:
            if not _plain(job.ref):
                return chunk or [job]
            room -= len(job.ref) + 1
            if chunk and room < 0:
                break
            chunk.append(job)
        return chunk

    async def _ask(self, chunk: list[Job]) -> bool:
        """Ask after some jobs; False when the upstream has nothing to say for now."""
        if not chunk:
            return True
        if len(chunk) == 1:
            return await self._each(chunk, paced=True)
        asked_at, now = self._clock.monotonic(), self._now()
        path = self._shape.many.format(ids=",".join(job.ref for job in chunk))
        answer = await self._get(path, BATCH_ANSWER)
        if answer is None:
            return False
        good = answer.status in (200, 206)
        found = rows(answer.body) if good and answer.whole else None
        if found is None and (good or not answer.whole or answer.status in (400, 414)):
            # Too many, or one among them with which the list cannot be told.
            return await self._parts(chunk)
        if found is None:
            self._hold_off(retry_after(answer.headers, self._clock.now()))
            return False
        self._failures = 0
        by_id = {id_of(self._shape, row): row for row in found}
        missing = []
        for job in chunk:
            row = by_id.get(job.ref)
            if row is None:
                missing.append(job)
            else:
                try:
                    self._take(job, asked_at, of_row(self._shape, row, now))
                except Exception:
                    log.exception("%s: a job cannot be read", self._upstream.name)
                    self._later(job, asked_at)
        return await self._each(missing)

    async def _parts(self, chunk: list[Job]) -> bool:
        """Ask in smaller lists, for a while."""
        self._batch = max(1, min(self._batch, len(chunk) // 2))
        self._grow_at = self._clock.monotonic() + GROW_AFTER
        log.info("%s is asked after %d jobs at once for now", self._upstream.name, self._batch)
        index = 0
        while index < len(chunk):
            part = chunk[index : index + self._batch]
            index += len(part)
            await self._pace.turn()
            if not await self._ask([job for job in part if job.answers]):
                return False
        return True

    async def _each(self, jobs: list[Job], paced: bool = False) -> bool:
        """Ask after one job by itself, and the next; `paced`: the turn of the first is had already."""
        for job in jobs:
            if not paced:
                await self._pace.turn()
            paced = False
            asked_at = self._clock.monotonic()
            try:
                if not await self._one(job):
                    return False
            except Exception:
                log.exception("%s: a job cannot be asked after", self._upstream.name)
                self._later(job, asked_at)
        return True

    async def _one(self, job: Job) -> bool:
        shape = self._shape
        asked_at, now = self._clock.monotonic(), self._now()
        path = filled(shape.one, id=job.ref) if shape.id else job.ref
        answer = await self._get(path, self._most_answer)
        if answer is None:
            return False
        if answer.status in (404, 410):
            self._failures = 0
            for waits in list(job.answers):
                _fail(waits, "the upstream does not know the job any more")
            return True
        told = of_answer(shape, answer, self._upstream.url(path), now)
        if told is None and 200 <= answer.status < 300:
            self._later(job, asked_at)
            return True
        if told is None:
            self._hold_off(retry_after(answer.headers, self._clock.now()))
            return False
        self._failures = 0
        self._take(job, asked_at, told)
        return True

    async def result(self, path: str, deadline: float) -> Told:
        """Fetch a result from the address where a job left it. Raises DeviceTimeout (DELIVERED) at the deadline."""
        while True:
            answer = await self._get(path, self._most_answer)
            if answer is not None and answer.status not in (429, 503):
                return Ended(response_of(answer, self._clock.now()))
            if answer is not None:
                self._hold_off(retry_after(answer.headers, self._clock.now()))
            if self._not_before >= deadline:
                await self._upstream.rest(deadline)
                raise DeviceTimeout("the result could not be fetched", delivery=Delivery.DELIVERED)
            await self._upstream.rest(self._not_before)

    async def _get(self, path: str, most: int) -> Answer | None:
        """The answer to a question; None when there is none, and nothing more is to be asked for now."""
        self.polls += 1
        headers = {"Accept": "application/json"}
        try:
            return await self._upstream.ask(
                "GET", path, self._clock.monotonic() + self._answer, headers=headers, most=most
            )
        except (Unreachable, NotConnected, DeviceTimeout) as error:
            self._hold_off(error.retry_after)
            return None
        except CallError:
            log.exception("%s could not be asked", self._upstream.name)
            self._hold_off(None)
            return None

    def _now(self) -> datetime:
        """What the upstream takes for now."""
        return self._clock.now() + timedelta(seconds=self._upstream.skew or 0.0)

    def _take(self, job: Job, asked_at: float, told: Told) -> None:
        if isinstance(told, AtWork):
            self._again(job, asked_at, told)
            return
        for answer in job.answers:
            if not answer.done():
                answer.set_result(told)


def _fail(answer: asyncio.Future[Told], why: str) -> None:
    if not answer.done():
        answer.set_exception(DeviceTimeout(why, delivery=Delivery.DELIVERED))


def _by_due(job: Job) -> float:
    return job.due


def _plain(ref: str) -> bool:
    """Whether an id can stand in a list of ids as it is."""
    return ref.isascii() and all(char.isalnum() or char in "-_.:~" for char in ref)

