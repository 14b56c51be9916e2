"""The jobs that one upstream holds, asked after by one questioner for everybody who waits.

One question is under way at a time, as many jobs in each as fit where the upstream can answer that, and a round of them
is ten requests, or a list for each hundred jobs: who has no turn in one has it in the next. When a job is due:
`schedule.py`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil

from adapters.http.blame import LIST, SILENT, SINGLE, Blame
from adapters.http.coding import TOO_LARGE
from adapters.http.pace import Beside, Pace
from adapters.http.results import MOST_RESULTS, Results
from adapters.http.schedule import Job, Schedule, by_age
from adapters.http.settings import HttpSettings
from adapters.http.shape import JobShape, without
from adapters.http.told import OMITTED, AtWork, Ended, Told, Unknown, id_of, of_answer, of_row, rows
from adapters.http.upstream import Upstream
from adapters.http.wire import Answer, filled, retry_after
from hub.ports.adapter import CallError, Delivery, DeviceTimeout, NotConnected, Unreachable
from hub.ports.clock import Clock

MOST_IDS = 100
MOST_REQUESTS, APART = 10, 3
"""Requests of a round, unless lists of all that are due are more; and how many of them are kept for those that are not
asked after in lists like the others."""
MOST_URL = 4000
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
        self._jobs = Schedule(settings, clock, MOST_IDS if shape.many else 1)
        self._brief = without(shape.one, shape.body)
        beside = Beside(pace, upstream.bound, MOST_RESULTS)
        self.results = Results(upstream, clock, self._jobs, beside, self._answer)
        self._blame = Blame(clock, MOST_IDS if shape.many else 1)
        self._last = 0
        self._unasked = False
        self._trouble = False
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

    def back(self) -> None:
        """The upstream was away, and answers again."""
        self._jobs.back()

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
        due = self._jobs.round()
        self.rounds += 1
        self._blame.begin(anew=not self._unasked)
        self._unasked = False
        self._last = self.polls + max(MOST_REQUESTS, ceil(len(due) / MOST_IDS) if self._shape.many else 2 * len(due))
        while due and self.polls < self._last:
            odd = [job for job in due if not job.fresh]
            if odd and self.polls >= self._last - min(APART, len(odd)):
                # The last seat is for who waits longest: others may fill all before it, round after round.
                due = odd if self.polls < self._last - 1 else sorted(odd, key=by_age)
            chunk = self._chunk(due)
            due = due[len(chunk) :]
            chunk = [job for job in chunk if job.answers]
            if not chunk:
                continue
            await self._pace.turn()
            going_on = await self._ask(chunk)
            if not going_on:
                return
            # Those of a list that was refused come again, in shorter ones, once the others had their turn, and those
            # that it was without by themselves.
            due += [job for job in chunk if len(chunk) > 1 and not (job.fresh or job.bad)]
        self._unasked = any(not job.fresh for job in due)

    def _chunk(self, due: list[Job]) -> list[Job]:
        chunk: list[Job] = []
        room = MOST_URL - len(str(self._upstream.base)) - len(self._shape.many)
        most = due[0].most
        for job in due:
            if job.bad or job.alone:
                return chunk or [job]
            most = min(most, job.most)
            room -= len(job.ref) + 1
            if chunk and (room < 0 or len(chunk) >= most or job.suspect is not chunk[0].suspect):
                break
            chunk.append(job)
        return chunk

    async def _ask(self, chunk: list[Job]) -> bool:
        """Ask after some jobs; False when the upstream has nothing to say for now."""
        if len(chunk) == 1:
            return await self._each(chunk, paced=True)
        asked_at, now = self._clock.monotonic(), self._now()
        path = self._shape.many.format(ids=",".join(job.ref for job in chunk))
        answer = await self._get(path, BATCH_ANSWER)
        if answer is None:
            return False
        good = answer.status in (200, 206)
        found = rows(answer.body) if good and answer.whole else None
        if found is None:
            return await self._no_list(chunk, answer, asked_at)
        self._answered()
        self._blame.cleared(chunk)
        by_id = {id_of(self._shape, row): row for row in found}
        for job in chunk:
            job.asked_at = asked_at
            row = by_id.get(job.ref)
            if row is None:
                job.alone = True
            else:
                try:
                    self._take(job, asked_at, of_row(self._shape, row, now))
                except Exception:
                    log.exception("%s: a job cannot be read", self._upstream.name)
                    self._jobs.later(job, asked_at)
        return True

    async def _no_list(self, chunk: list[Job], answer: Answer, asked_at: float) -> bool:
        """There is no list of these jobs: too many, or one among them with which it cannot be told, or the upstream is
        in trouble. That shows when it is asked after fewer."""
        pause = retry_after(answer.headers, self._clock.now())
        if answer.status in (429, 503):
            self._jobs.hold_off(pause)
            return False
        for job in chunk:
            job.asked_at = asked_at
        too_long = 200 <= answer.status < 300 or not answer.whole or answer.status in (400, 414)
        self._blame.refused(chunk, self._jobs, too_long=too_long)
        if too_long:
            return True
        self._trouble = True
        if pause is not None:
            self._jobs.hold_off(pause)
            return False
        if self._blame.doubts_lists:
            # It may be that no list is answered at all: one job by itself tells that from an upstream in trouble.
            return await self._each(chunk[:1])
        return self._in_vain(LIST if answer.status else SILENT, known=False)

    def _in_vain(self, weight: int, *, known: bool) -> bool:
        """A question was of no use; whether the round goes on. `known`: it was about a job that is bad already."""
        if self._blame.in_vain(weight, known=known):
            return True
        if self._blame.nobody_else:
            self._trouble = True
            if self._blame.known:
                self._jobs.rest_from_bad()
            else:
                self._jobs.hold_off(None)
        return False

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
            job.brief = job.alone = True
            if self.polls >= self._last:
                return True
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
            self._give_up(job, why)
            return True
        told = of_answer(shape, answer, self._upstream.url(path), now)
        if told is None:
            return self._unread(job, asked_at, answer)
        self._answered()
        self._blame.cleared([job])
        self._take(job, asked_at, told)
        return True

    def _path(self, job: Job) -> str:
        if not self._shape.id:
            return job.ref
        return filled(self._brief if job.brief else self._shape.one, id=job.ref)

    def _unread(self, job: Job, asked_at: float, answer: Answer) -> bool:
        """Nothing can be made of what was said of one job; False where that was so of several, one after the other."""
        known = job.bad
        self._jobs.later(job, asked_at, retry_after(answer.headers, self._clock.now()))
        job.suspect = False
        if not known:
            self._blame.found()
        return 200 <= answer.status < 300 or self._in_vain(SINGLE if answer.status else SILENT, known=known)

    def _answered(self) -> None:
        self._trouble = False
        self._jobs.answered()
        self._blame.answered()

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
        job.heard()
        if isinstance(told, AtWork):
            self._jobs.again(job, asked_at, told)
            return
        if isinstance(told, Unknown):
            self._give_up(job, "the upstream does not know what became of the job")
            return
        if job.brief and isinstance(told, Ended):
            response = told.response
            told = Ended(replace(response, native={**response.native, OMITTED: TOO_LARGE}))
        for answer in job.answers:
            if not answer.done():
                answer.set_result(told)

    def _give_up(self, job: Job, why: str) -> None:
        for answer in job.answers:
            _fail(answer, why)


_SILENCE = Answer(0, {})


def _too_large(answer: Answer) -> bool:
    return 200 <= answer.status < 300 and answer.lack == TOO_LARGE


def _fail(answer: asyncio.Future[Told], why: str) -> None:
    if not answer.done():
        answer.set_exception(DeviceTimeout(why, delivery=Delivery.DELIVERED))
