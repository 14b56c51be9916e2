"""The jobs that one upstream holds, asked after by one questioner for everybody who waits.

One question is under way at a time, as many jobs in each as fit where the upstream can answer that. When a job is due:
`schedule.py`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta

from adapters.http.coding import TOO_LARGE
from adapters.http.pace import Beside, Pace
from adapters.http.results import MOST_RESULTS, Results
from adapters.http.schedule import Job, Schedule
from adapters.http.settings import HttpSettings
from adapters.http.shape import JobShape, without
from adapters.http.told import OMITTED, AtWork, Ended, Told, id_of, of_answer, of_row, rows
from adapters.http.upstream import Upstream
from adapters.http.wire import Answer, filled, retry_after
from hub.ports.adapter import CallError, Delivery, DeviceTimeout, NotConnected, Unreachable
from hub.ports.clock import Clock

MOST_IDS = 100
MOST_URL = 4000
SEVERAL = 3
"""Jobs that are answered badly one after the other, after which it is the upstream that is in trouble."""
GROW_AFTER = 60.0
"""Seconds after which as many jobs again are asked after at once, where fewer had to be."""
BATCH_ANSWER = 16 * 1024 * 1024

log = logging.getLogger("hub.http")


class Jobs:
    """Asks after jobs until nobody waits."""

    def __init__(
        self, upstream: Upstream, shape: JobShape, settings: HttpSettings, clock: Clock, pace: Pace
    ) -> None:
        self._upstream = upstream
        self._shape = shape
        self._clock = clock
        self._answer = settings.answer.total_seconds()
        self._most_answer = settings.max_answer
        self._pace = pace
        self._jobs = Schedule(settings, clock)
        self._brief = without(shape.one, shape.body)
        beside = Beside(pace, upstream.bound, MOST_RESULTS)
        self.results = Results(upstream, clock, self._jobs, beside, self._answer)
        self._batch = self._most_batch = MOST_IDS if shape.many else 1
        self._grow_at = float("inf")
        self._refused_lists = 0
        self._in_parts = False
        self._trouble = False
        self._in_a_row: set[str] = set()
        self._stopping = False
        self.rounds = 0
        self.polls = 0

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def asking(self) -> bool:
        """Whether a round is under way."""
        return self._jobs.asking

    @property
    def failing(self) -> int:
        """Of how many jobs nothing could be made of what was said last; at least 1 where that is so of all."""
        return max(sum(job.bad for job in self._jobs), int(self._trouble and len(self._jobs) > 0))

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
        await self._chunks(due)

    async def _chunks(self, jobs: list[Job]) -> bool:
        """Ask after jobs in lists as long as may be; False when it broke off."""
        index = 0
        while index < len(jobs):
            chunk = self._chunk(jobs, index)
            index += len(chunk)
            await self._pace.turn()
            if not await self._ask([job for job in chunk if job.answers]):
                return False
        return True

    def _chunk(self, due: list[Job], index: int) -> list[Job]:
        chunk: list[Job] = []
        room = MOST_URL - len(str(self._upstream.base)) - len(self._shape.many)
        for job in due[index : index + self._batch]:
            if job.bad or job.brief or not _plain(job.ref):
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
        for job in chunk:
            job.asked_at = asked_at
        path = self._shape.many.format(ids=",".join(job.ref for job in chunk))
        answer = await self._get(path, BATCH_ANSWER)
        if answer is None:
            return False
        good = answer.status in (200, 206)
        found = rows(answer.body) if good and answer.whole else None
        if found is None:
            return await self._no_list(chunk, answer, good)
        self._answered()
        if not self._in_parts:
            self._refused_lists = 0
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

    async def _no_list(self, chunk: list[Job], answer: Answer, good: bool) -> bool:
        """There is no list of these jobs: too many, or one among them with which it cannot be told, or the upstream is
        in trouble. That shows when it is asked after fewer."""
        pause = retry_after(answer.headers, self._clock.now())
        if answer.status in (429, 503):
            self._jobs.hold_off(pause)
            return False
        if good or not answer.whole or answer.status in (400, 414):
            return await self._parts(chunk)
        self._refused_lists += 1
        self._trouble = True
        if self._refused_lists == 1:
            self._jobs.hold_off(pause)
            return False
        batch = self._batch
        if await self._parts(chunk):
            return True
        # It was not the list.
        self._batch = batch
        return False

    async def _parts(self, chunk: list[Job]) -> bool:
        """Ask in smaller lists, for a while."""
        self._batch = max(1, min(self._batch, len(chunk) // 2))
        self._grow_at = self._clock.monotonic() + GROW_AFTER
        log.info("%s is asked after %d jobs at once for now", self._upstream.name, self._batch)
        outer, self._in_parts = self._in_parts, True
        try:
            return await self._chunks(chunk)
        finally:
            self._in_parts = outer

    async def _each(self, jobs: list[Job], paced: bool = False) -> bool:
        """Ask after one job by itself, and the next; `paced`: the turn of the first is had already."""
        for job in jobs:
            if not paced:
                await self._pace.turn()
            paced = False
            asked_at = job.asked_at = self._clock.monotonic()
            try:
                if not await self._one(job, asked_at):
                    return False
            except Exception:
                log.exception("%s: a job cannot be asked after", self._upstream.name)
                self._jobs.later(job, asked_at)
        return True

    async def _one(self, job: Job, asked_at: float) -> bool:
        shape, now = self._shape, self._now()
        path = self._path(job)
        answer = await self._get(path, self._most_answer)
        if answer is not None and _too_large(answer) and shape.state and self._brief and not job.brief:
            # How it stands is told in few words; what it brought is not to be had.
            job.brief = True
            await self._pace.turn()
            path = self._path(job)
            answer = await self._get(path, self._most_answer)
        if answer is None:
            return False
        if answer.status in (429, 503):
            self._jobs.hold_off(retry_after(answer.headers, self._clock.now()))
            return False
        gone = answer.status in (404, 410)
        if gone or (_too_large(answer) and shape.state):
            self._answered()
            why = "the upstream does not know the job any more" if gone else "what is said of the job is too large"
            for waits in list(job.answers):
                _fail(waits, why)
            return True
        told = of_answer(shape, answer, self._upstream.url(path), now)
        if told is None:
            return self._unread(job, asked_at, answer)
        self._answered()
        self._take(job, asked_at, told)
        return True

    def _path(self, job: Job) -> str:
        if not self._shape.id:
            return job.ref
        return filled(self._brief if job.brief else self._shape.one, id=job.ref)

    def _unread(self, job: Job, asked_at: float, answer: Answer) -> bool:
        """Nothing can be made of what was said of one job; False where that was so of several, one after the other."""
        if not job.bad:
            # It may be the one that spoilt the lists, and it is in none from now on.
            self._batch = self._most_batch
        self._jobs.later(job, asked_at, retry_after(answer.headers, self._clock.now()))
        if 200 <= answer.status < 300:
            return True
        self._in_a_row.add(job.ref)
        if len(self._in_a_row) < SEVERAL:
            return True
        self._in_a_row.clear()
        self._trouble = True
        self._jobs.hold_off(None)
        return False

    def _answered(self) -> None:
        self._trouble = False
        self._jobs.answered()
        self._in_a_row.clear()

    async def _get(self, path: str, most: int) -> Answer | None:
        """The answer to a question, without a status where it broke off or did not come; None where nobody is there,
        and nothing more is to be asked for now."""
        self.polls += 1
        headers = {"Accept": "application/json"}
        try:
            return await self._upstream.ask(
                "GET", path, self._clock.monotonic() + self._answer, headers=headers, most=most
            )
        except (Unreachable, NotConnected, DeviceTimeout) as error:
            if error.delivery is not Delivery.NOT_SENT and not self._upstream.stopping:
                return _SILENCE
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
        job.bad = False
        if isinstance(told, AtWork):
            self._jobs.again(job, asked_at, told)
            return
        if job.brief and isinstance(told, Ended):
            response = told.response
            told = Ended(replace(response, native={**response.native, OMITTED: TOO_LARGE}))
        for answer in job.answers:
            if not answer.done():
                answer.set_result(told)


_SILENCE = Answer(0, {})


def _too_large(answer: Answer) -> bool:
    return 200 <= answer.status < 300 and answer.lack == TOO_LARGE


def _fail(answer: asyncio.Future[Told], why: str) -> None:
    if not answer.done():
        answer.set_exception(DeviceTimeout(why, delivery=Delivery.DELIVERED))


def _plain(ref: str) -> bool:
    """Whether an id can stand in a list of ids as it is."""
    return ref.isascii() and all(char.isalnum() or char in "-_.:~" for char in ref)
