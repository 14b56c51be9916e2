"""A change on its way through a job upstream: submitted once, noted, waited for.

Between the answer that names the job and the note lies nothing but the note; what is lost before it is found out by
`lost.py`. From the note on, only questions are asked.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any

from adapters.http.jobs import Jobs
from adapters.http.lost import Lost, Search
from adapters.http.note import Note
from adapters.http.pace import Pace
from adapters.http.question import Likeness
from adapters.http.settings import HttpSettings
from adapters.http.shape import JobShape
from adapters.http.sign_in import SignInRefused
from adapters.http.slots import Slot
from adapters.http.told import Ended, Further, Told, job_of, no_answer, result_of
from adapters.http.upstream import Upstream
from adapters.http.wire import Answer, path_of, retry_after
from hub.model.errors import StorageFailed
from hub.ports.adapter import (
    AdapterContext,
    Delivery,
    DeviceRequest,
    DeviceResponse,
    DeviceTimeout,
    NotConnected,
    Unreachable,
)
from hub.ports.past_call import RecallsCalls

log = logging.getLogger("hub.http")

STORAGE_PAUSE = 1.0
BUSY_PAUSE = 5.0
"""Seconds to the next try where an upstream says that it is busy, and not for how long."""
JSON = "application/json"


class Submits:
    """The changes of one upstream."""

    def __init__(self, upstream: Upstream, shape: JobShape, settings: HttpSettings, ctx: AdapterContext) -> None:
        pace = Pace(ctx.clock, settings.requests_per_second)
        self.jobs = Jobs(upstream, shape, settings, ctx.clock, pace)
        self._upstream = upstream
        self._shape = shape
        self._ctx = ctx
        self._answer = settings.answer.total_seconds()
        self._call_id = settings.call_id
        past = ctx if isinstance(ctx, RecallsCalls) else None
        self._lost = Lost(upstream, shape, ctx.clock, settings.answer, past, pace)

    async def run(self) -> None:
        """Ask after the jobs, for as long as the adapter lives."""
        await self.jobs.run()

    def stop(self) -> None:
        """Let go of all who wait."""
        self.jobs.stop()

    async def submit(self, req: DeviceRequest, prefix: str, slot: Slot) -> DeviceResponse:
        """Submit a change and return its result. Raises CallError."""
        change = _Change(self, req, prefix, self._ctx.clock.now())
        job: str | None = None
        with self._lost.sending(change.likeness):
            answer = await self._answer_to(change)
            if answer is not None and answer.status == 202:
                job = self._job(change, answer)
            if job is not None:
                self._lost.owned.prove(job)
        if job is not None:
            assert answer is not None
            return await self._taken(req, Note(job), slot, retry_after(answer.headers, self._ctx.clock.now()))
        if answer is not None and answer.status != 202:
            # It was done at once, or it is refused: both are final, unless the upstream only has too much to do.
            response = result_of(answer, self._ctx.clock.now())
            if answer.status == 503:
                response = replace(response, native={"retry_after": BUSY_PAUSE, **response.native})
            return response
        with self._lost.searching(change.likeness) as search:
            found = await self._became(change, search, repeats=answer is None)
        return await self._goes_on(req, found, slot)

    async def find(
        self, req: DeviceRequest, prefix: str, sent_at: datetime, turn: Callable[[], Awaitable[Slot]]
    ) -> DeviceResponse:
        """The result of a change whose answer was lost; `turn`: a place among the requests to the device.
        Raises DeviceTimeout (MAYBE) where nobody can tell."""
        change = _Change(self, req, prefix, sent_at)
        with ExitStack() as kept:
            # Also while it stands in line: a job that another finds meanwhile may be its.
            with self._lost.searching(change.likeness) as search:
                with self._upstream.bound(req.deadline):
                    slot = kept.enter_context(await turn())
                found = await self._became(change, search, repeats=True)
            return await self._goes_on(req, found, slot)

    async def _answer_to(self, change: _Change) -> Answer | None:
        """What the upstream says to a change; None where that is lost. Raises CallError when nothing was sent, or the
        hub stops."""
        deadline = min(change.req.deadline, self._ctx.clock.monotonic() + self._answer)
        try:
            answer = await self._send(change, deadline)
        except (NotConnected, DeviceTimeout) as error:
            if error.delivery is Delivery.NOT_SENT or self._upstream.stopping:
                raise
            return None
        except SignInRefused:
            raise
        except Unreachable as error:
            # Whoever hands in a job has time: it waits until its upstream is back, and uses up no retry.
            raise NotConnected(error.detail, delivery=Delivery.NOT_SENT, retry_after=error.retry_after) from error
        return None if no_answer(self._shape, answer) else answer

    async def _became(self, change: _Change, search: Search, *, repeats: bool) -> Note | DeviceResponse:
        """What a change became: a job, or what it was answered with at once."""
        deadline = change.req.deadline
        if repeats and self._shape.key:
            answer = await self._lost.again(change.sent_at, deadline, lambda until: self._send(change, until))
            if answer is not None and answer.status != 202:
                return result_of(answer, self._ctx.clock.now())
            job = None if answer is None else self._job(change, answer)
            if job is not None:
                self._lost.owned.prove(job)
                return Note(job)
        return Note(await self._lost.find(search, change.sent_at, deadline), found=True)

    async def _goes_on(self, req: DeviceRequest, became: Note | DeviceResponse, slot: Slot) -> DeviceResponse:
        return became if isinstance(became, DeviceResponse) else await self._taken(req, became, slot)

    async def hold(self, call: str, kept: Note, deadline: float, first: float | None = None) -> DeviceResponse:
        """The result of a job that is noted, or of the last one that follows from it. `first`: in how many seconds it
        is worth asking."""
        if not kept.found:
            self._lost.owned.prove(kept.first)
        with self._lost.owned.found(kept.first) if kept.found else nullcontext():
            return await self._held(call, kept, deadline, first)

    async def _held(self, call: str, kept: Note, deadline: float, first: float | None) -> DeviceResponse:
        while True:
            self._lost.owned.know(kept.job, *kept.before)
            if kept.result:
                told: Told = await self.jobs.results.fetch(kept.job, deadline)
            else:
                told = await self.jobs.told(kept.job, deadline, first)
            if isinstance(told, Ended):
                return told.response
            assert isinstance(told, Further)
            further = kept.next(told.job, told.result)
            if further is None:
                raise DeviceTimeout("one job followed the other without end", delivery=Delivery.DELIVERED)
            kept, first = further, 0.0
            deadline = await self._noted(call, kept, deadline)

    async def _taken(
        self, req: DeviceRequest, kept: Note, slot: Slot, first: float | None = None
    ) -> DeviceResponse:
        """The upstream holds the job: noted before anything else."""
        # The lane goes on within the checkpoint, and shall find the slot free.
        slot.free()
        with self._lost.owned.found(kept.first) if kept.found else nullcontext():
            deadline = await self._noted(req.call_id, kept, req.deadline)
            return await self._held(req.call_id, kept, deadline, first)

    async def _noted(self, call: str, kept: Note, deadline: float) -> float:
        """Note a job with its call; the deadline from then on. A disk that is full for a while loses no job that is
        in hand. Raises NotConnected when the call has ended, DeviceTimeout (DELIVERED) at the deadline."""
        while True:
            try:
                return await self._ctx.checkpoint(call, kept.encoded())
            except StorageFailed as failure:
                log.warning("the note of a job failed, trying again: %s", failure)
            now = self._ctx.clock.monotonic()
            if now >= deadline:
                raise DeviceTimeout("the job could not be noted", delivery=Delivery.DELIVERED)
            await self._upstream.rest(min(deadline, now + STORAGE_PAUSE))

    async def _send(self, change: _Change, until: float) -> Answer:
        req = change.req
        headers = {"Accept": req.accept or JSON}
        if req.content_type or req.payload:
            headers["Content-Type"] = req.content_type or JSON
        for name in filter(None, (self._shape.key, self._call_id)):
            headers[name] = req.call_id
        return await self._upstream.ask(req.method, change.path, until, headers=headers, body=req.payload)

    def _job(self, change: _Change, answer: Answer) -> str | None:
        return job_of(self._shape, answer, self._upstream.url(change.path))

    def likeness(self, method: str, prefix: str, target: str) -> Likeness | None:
        """What the job of a change is known by where its answer is lost."""
        return self._lost.likeness(method, prefix, target)

    @property
    def query(self) -> str:
        """What makes a job of a change."""
        return self._shape.query

    def health(self) -> dict[str, Any]:
        """How many jobs are open, how many of them cannot be asked after, and what asking cost."""
        jobs = self.jobs
        return {"jobs": len(jobs), "failing": jobs.failing, "polls": jobs.polls, "rounds": jobs.rounds}

    @property
    def failing(self) -> bool:
        """Whether the upstream answers, and there is nothing to be made of what it says of jobs."""
        return self.jobs.failing > 0


class _Change:
    """A change as it goes out. Raises BadRequest (NOT_SENT) for what is no target."""

    __slots__ = ("likeness", "path", "req", "sent_at")

    def __init__(self, submits: Submits, req: DeviceRequest, prefix: str, sent_at: datetime) -> None:
        self.req = req
        self.path = path_of(prefix, req.target, req.query, submits.query)
        self.likeness = submits.likeness(req.method, prefix, req.target)
        self.sent_at = sent_at
