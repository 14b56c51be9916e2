"""The jobs that one upstream holds, asked after by one questioner for everybody who waits.

One question is under way at a time, as many jobs in each as fit where the upstream can answer that. When a job is due:
`schedule.py`.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from adapters.http.pace import Pace
from adapters.http.schedule import Job, Schedule
from adapters.http.settings import HttpSettings
from adapters.http.shape import JobShape
from adapters.http.told import AtWork, Ended, Told, id_of, of_answer, of_row, rows
from adapters.http.upstream import Upstream
from adapters.http.wire import Answer, filled, response_of, retry_after
from hub.ports.adapter import CallError, Delivery, DeviceTimeout, NotConnected, Unreachable
from hub.ports.clock import Clock

MOST_IDS = 100
MOST_URL = 4000
GROW_AFTER = 60.0
"""Seconds after which as many jobs again are asked after at once, where fewer had to be."""
BATCH_ANSWER = 16 * 1024 * 1024

log = logging.getLogger("hub.http")


class Jobs:
    """Asks after jobs until nobody waits."""

    def __init__(self, upstream: Upstream, shape: JobShape, settings: HttpSettings, clock: Clock) -> None:
        self._upstream = upstream
        self._shape = shape
        self._clock = clock
        self._answer = settings.answer.total_seconds()
        self._most_answer = settings.max_answer
        self._pace = Pace(clock, settings.requests_per_second)
        self._jobs = Schedule(settings, clock)
        self._batch = self._most_batch = MOST_IDS if shape.many else 1
        self._grow_at = float("inf")
        self._stopping = False
        self.rounds = 0
        self.polls = 0

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def asking(self) -> bool:
        """Whether a round is under way."""
        return self._jobs.asking

    async def told(self, ref: str, deadline: float, first: float | None = None) -> Told:
        """What became of a job, once it is over; `first`: in how many seconds it is worth asking.

        Raises DeviceTimeout (DELIVERED) at the deadline, or when its upstream does not know it any more, and
        NotConnected when the hub stops.
        """
        if self._stopping:
            raise NotConnected("the hub is stopping", delivery=Delivery.MAYBE)
        answer: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        job = self._jobs.take(ref, first)
        job.answers.append(answer)
        over = self._clock.call_at(deadline, _fail, answer, "the job did not end in time")
        try:
            return await answer
        finally:
            over.cancel()
            job.answers.remove(answer)
            if not job.answers:
                self._jobs.drop(job)

    def stop(self) -> None:
        """Let go of everybody who waits; the jobs go on where they are."""
        self._stopping = True
        for job in self._jobs:
            for answer in job.answers:
                if not answer.done():
                    answer.set_exception(NotConnected("the hub is stopping", delivery=Delivery.MAYBE))

    async def run(self) -> None:
        """Ask, for as long as the adapter lives."""
        while True:
            await self._jobs.until_due()
            try:
                await self._round()
            except Exception:
                # Everybody's jobs hang on this task: it outlives what nobody thought of.
                log.exception("%s: a round of questions failed", self._upstream.name)
                self._jobs.hold_off(None)

    async def _round(self) -> None:
        now = self._clock.monotonic()
        if now >= self._grow_at:
            self._batch = min(self._most_batch, self._batch * 2)
            self._grow_at = now + GROW_AFTER if self._batch < self._most_batch else float("inf")
        due = self._jobs.round(self._batch)
        self.rounds += 1
        index = 0
        while index < len(due):
            chunk = self._chunk(due, index)
            await self._pace.turn()
            if not await self._ask([job for job in chunk if job.answers]):
                return
            index += len(chunk)

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
            self._jobs.hold_off(retry_after(answer.headers, self._clock.now()))
            return False
        self._jobs.answered()
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
                    self._jobs.later(job, asked_at)
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
                self._jobs.later(job, asked_at)
        return True

    async def _one(self, job: Job) -> bool:
        shape = self._shape
        asked_at, now = self._clock.monotonic(), self._now()
        path = filled(shape.one, id=job.ref) if shape.id else job.ref
        answer = await self._get(path, self._most_answer)
        if answer is None:
            return False
        if answer.status in (404, 410):
            self._jobs.answered()
            for waits in list(job.answers):
                _fail(waits, "the upstream does not know the job any more")
            return True
        told = of_answer(shape, answer, self._upstream.url(path), now)
        if told is None and 200 <= answer.status < 300:
            self._jobs.later(job, asked_at)
            return True
        if told is None:
            self._jobs.hold_off(retry_after(answer.headers, self._clock.now()))
            return False
        self._jobs.answered()
        self._take(job, asked_at, told)
        return True

    async def result(self, path: str, deadline: float) -> Told:
        """Fetch a result from the address where a job left it. Raises DeviceTimeout (DELIVERED) at the deadline."""
        while True:
            answer = await self._get(path, self._most_answer)
            if answer is not None and answer.status not in (429, 503):
                return Ended(response_of(answer, self._clock.now()))
            if answer is not None:
                self._jobs.hold_off(retry_after(answer.headers, self._clock.now()))
            if self._jobs.not_before >= deadline:
                await self._upstream.rest(deadline)
                raise DeviceTimeout("the result could not be fetched", delivery=Delivery.DELIVERED)
            await self._upstream.rest(self._jobs.not_before)

    async def _get(self, path: str, most: int) -> Answer | None:
        """The answer to a question; None when there is none, and nothing more is to be asked for now."""
        self.polls += 1
        headers = {"Accept": "application/json"}
        try:
            return await self._upstream.ask(
                "GET", path, self._clock.monotonic() + self._answer, headers=headers, most=most
            )
        except (Unreachable, NotConnected, DeviceTimeout) as error:
            self._jobs.hold_off(error.retry_after)
            return None
        except CallError:
            log.exception("%s could not be asked", self._upstream.name)
            self._jobs.hold_off(None)
            return None

    def _now(self) -> datetime:
        """What the upstream takes for now."""
        return self._clock.now() + timedelta(seconds=self._upstream.skew or 0.0)

    def _take(self, job: Job, asked_at: float, told: Told) -> None:
        if isinstance(told, AtWork):
            self._jobs.again(job, asked_at, told)
            return
        for answer in job.answers:
            if not answer.done():
                answer.set_result(told)


def _fail(answer: asyncio.Future[Told], why: str) -> None:
    if not answer.done():
        answer.set_exception(DeviceTimeout(why, delivery=Delivery.DELIVERED))


def _plain(ref: str) -> bool:
    """Whether an id can stand in a list of ids as it is."""
    return ref.isascii() and all(char.isalnum() or char in "-_.:~" for char in ref)
