"""HTTP devices and job upstreams behind the adapter contract.

A device's address is the name of an upstream of the settings, with a path behind it where the settings allow that; an
address can name no server that the operator did not. Plain devices answer by themselves. A job upstream takes a change
and holds it: its job is noted with the call before anything else happens, and `jobs.py` asks after it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from adapters.http import note as notes
from adapters.http.jobs import Jobs
from adapters.http.lost import Lost
from adapters.http.note import Note
from adapters.http.settings import METHODS, HttpSettings, read
from adapters.http.told import Ended, Further, job_of
from adapters.http.upstream import READS, Upstream
from adapters.http.wire import Answer, content_type_of, path_of, response_of
from hub.model.device import Presence
from hub.ports.adapter import (
    API_VERSION,
    AdapterContext,
    BadRequest,
    Busy,
    Capabilities,
    Delivery,
    DeviceEvent,
    DeviceRequest,
    DeviceResponse,
    DeviceTimeout,
    EventKind,
    NotConnected,
    Observation,
    ObserveSpec,
    TooLarge,
    Unsupported,
)

BUSY_PAUSE = 5.0
"""Seconds to the next try where a job upstream says that it is busy, and not for how long."""
MOST_SEEN = 100_000


def create(settings: Mapping[str, Any]) -> HttpAdapter:
    """The factory behind the entry point. Raises ValueError that names what is wrong with the settings."""
    return HttpAdapter(read(settings))


@dataclass(slots=True)
class Place:
    """An upstream with what belongs to it; `jobs` and `lost` where it has jobs."""

    upstream: Upstream
    jobs: Jobs | None = None
    lost: Lost | None = None


class Slot:
    """A place among the requests under way to a device, given back once."""

    __slots__ = ("_adapter", "_device", "_held")

    def __init__(self, adapter: HttpAdapter, device: str) -> None:
        self._adapter = adapter
        self._device = device
        self._held = True
        adapter.taken(device, 1)

    def free(self) -> None:
        """Give it back; a second time is harmless."""
        if self._held:
            self._held = False
            self._adapter.taken(self._device, -1)


class HttpAdapter:
    """All upstreams of one table of the configuration."""

    api_version: ClassVar[int] = API_VERSION

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._shape = settings.shape
        self.capabilities = Capabilities(
            role=frozenset({"connect"}),
            methods=METHODS,
            idempotent_methods=settings.idempotent,
            presence="inferred",
            per_device_inflight=settings.inflight,
            total_inflight=settings.total,
            max_payload=settings.max_payload,
            attempt_timeout=settings.attempt_timeout.total_seconds(),
        )
        self._ctx: AdapterContext | None = None
        self._places: dict[str, Place] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._open: Counter[str] = Counter()
        # Who was heard of, and how they stand: what is told when an upstream goes away or comes back.
        self._seen: OrderedDict[str, Presence] = OrderedDict()

    # -- life -----------------------------------------------------------------------------------

    async def start(self, ctx: AdapterContext) -> None:
        """Make everything ready; nothing is connected before it is needed. Raises ValueError for a missing secret."""
        if self._ctx is not None:
            return
        places: dict[str, Place] = {}
        try:
            for entry in self._settings.upstreams:
                upstream = Upstream(entry, self._settings, ctx, self._changed)
                places[entry.name] = Place(upstream)
                upstream.open()
        except ValueError:
            for place in places.values():
                await place.upstream.close()
            raise
        for name, place in places.items():
            if self._shape is not None:
                place.jobs = Jobs(place.upstream, self._shape, self._settings, ctx.clock)
                place.lost = Lost(place.upstream, self._shape, ctx.clock, self._settings.answer)
                self._tasks.append(ctx.spawn(place.jobs.run(), name=f"jobs of {name}"))
        self._places = places
        self._ctx = ctx

    async def stop(self, grace: float) -> None:
        """Fail open calls, close the connections. Jobs go on where they are: `resume` finds them."""
        if self._ctx is None:
            return
        self._ctx = None
        places, self._places = self._places, {}
        tasks, self._tasks = self._tasks, []
        for place in places.values():
            if place.jobs is not None:
                place.jobs.stop()
        for task in tasks:
            task.cancel()
        for place in places.values():
            await place.upstream.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._seen.clear()

    # -- calls ----------------------------------------------------------------------------------

    def check(self, req: DeviceRequest) -> None:
        """Refuse what can be known at once: a method, a target, a size, an address that names no upstream."""
        self._judge(req)
        if self._ctx is not None:
            self._find(req.device)

    async def call(self, req: DeviceRequest) -> DeviceResponse:
        """One attempt; see the contract."""
        ctx = self._started(Delivery.NOT_SENT)
        self._judge(req)
        try:
            place, prefix = self._find(req.device)
        except BadRequest as error:
            raise NotConnected(error.detail, delivery=Delivery.NOT_SENT) from None
        if req.deadline <= ctx.clock.monotonic():
            raise DeviceTimeout("the deadline is past", delivery=Delivery.NOT_SENT)
        if place.upstream.breaker.open:
            raise NotConnected("the upstream is away", delivery=Delivery.NOT_SENT)
        if self.window(req.device) <= 0:
            raise Busy("the device works on a call", delivery=Delivery.NOT_SENT)
        path_of(prefix, req.target, req.query)
        self._hear(req.device, Presence.ONLINE, new_only=True)
        with self._slot(req.device) as slot:
            if self._shape is not None and req.method not in READS:
                return await self._change(ctx, place, prefix, req, slot)
            until = req.deadline if self._shape is None else self._until(ctx, req)
            path = path_of(prefix, req.target, req.query)
            answer = await place.upstream.ask(req.method, path, until, headers=self._headers(req), body=req.payload)
            self._hear(req.device, Presence.ONLINE)
            return response_of(answer, ctx.clock.now())

    async def resume(self, req: DeviceRequest, note: bytes) -> DeviceResponse:
        """Go on asking after a job. Nothing is ever submitted again."""
        ctx = self._started(Delivery.MAYBE)
        place = self._known(req.device)
        try:
            kept = notes.decoded(note)
        except ValueError as error:
            raise NotConnected(str(error), delivery=Delivery.DELIVERED) from None
        return await self._held(ctx, place, req.call_id, kept, req.deadline, at_once=True)

    async def recover(self, req: DeviceRequest, sent_at: datetime) -> DeviceResponse:
        """Find out what became of a change that was sent before a restart and whose answer was lost."""
        ctx = self._started(Delivery.MAYBE)
        if self._shape is None or req.method in READS:
            raise NotConnected("nobody can tell what became of it", delivery=Delivery.MAYBE)
        place = self._known(req.device)
        _, prefix = self._find(req.device)
        with self._slot(req.device) as slot:
            return await self._lost(ctx, place, prefix, req, sent_at, slot)

    async def _change(
        self, ctx: AdapterContext, place: Place, prefix: str, req: DeviceRequest, slot: Slot
    ) -> DeviceResponse:
        """Submit a change, once."""
        sent_at = ctx.clock.now()
        try:
            answer = await self._send(place, prefix, req, self._until(ctx, req))
        except (NotConnected, DeviceTimeout) as error:
            if error.delivery is Delivery.NOT_SENT or self._ctx is None:
                raise
            return await self._lost(ctx, place, prefix, req, sent_at, slot)
        return await self._answered(ctx, place, prefix, req, sent_at, answer, slot)

    async def _send(self, place: Place, prefix: str, req: DeviceRequest, until: float) -> Answer:
        assert self._shape is not None
        path = path_of(prefix, req.target, req.query, self._shape.query)
        return await place.upstream.ask(req.method, path, until, headers=self._headers(req), body=req.payload)

    async def _answered(
        self,
        ctx: AdapterContext,
        place: Place,
        prefix: str,
        req: DeviceRequest,
        sent_at: datetime,
        answer: Answer,
        slot: Slot,
    ) -> DeviceResponse:
        assert self._shape is not None
        self._hear(req.device, Presence.ONLINE)
        if answer.status != 202:
            # It was done at once, or it is refused: both are final, unless the upstream only has too much to do.
            response = response_of(answer, ctx.clock.now())
            if response.status == 503 and "retry_after" not in response.native:
                response.native["retry_after"] = BUSY_PAUSE  # type: ignore[index]
            return response
        path = path_of(prefix, req.target, req.query, self._shape.query)
        job = job_of(self._shape, answer, place.upstream.url(path))
        if job is None:
            return await self._lost(ctx, place, prefix, req, sent_at, slot, named=False)
        return await self._taken(ctx, place, req, job, slot)

    async def _taken(
        self, ctx: AdapterContext, place: Place, req: DeviceRequest, job: str, slot: Slot
    ) -> DeviceResponse:
        """The upstream holds the job: noted first, then its lane goes on."""
        kept = Note(job)
        deadline = await ctx.checkpoint(req.call_id, kept.encoded())
        if place.lost is not None:
            place.lost.know(job)
        slot.free()
        return await self._held(ctx, place, req.call_id, kept, deadline)

    async def _lost(
        self,
        ctx: AdapterContext,
        place: Place,
        prefix: str,
        req: DeviceRequest,
        sent_at: datetime,
        slot: Slot,
        *,
        named: bool = True,
    ) -> DeviceResponse:
        """The answer to a change did not come, or named no job (then a repetition would not either)."""
        assert place.lost is not None and self._shape is not None
        if self._shape.key and named:
            answer = await place.lost.again(
                sent_at, req.deadline, lambda until: self._send(place, prefix, req, until)
            )
            path = path_of(prefix, req.target, req.query, self._shape.query)
            if answer.status != 202:
                return response_of(answer, ctx.clock.now())
            job = job_of(self._shape, answer, place.upstream.url(path))
            if job is not None:
                return await self._taken(ctx, place, req, job, slot)
        return await self._taken(ctx, place, req, await place.lost.find(req, sent_at), slot)

    async def _held(
        self, ctx: AdapterContext, place: Place, call: str, kept: Note, deadline: float, *, at_once: bool = False
    ) -> DeviceResponse:
        """Wait for the end of a job, and of those that follow from it."""
        assert place.jobs is not None and place.lost is not None
        while True:
            place.lost.know(kept.job)
            if kept.result:
                told = await place.jobs.result(kept.job, deadline)
            else:
                told = await place.jobs.told(kept.job, deadline, at_once=at_once)
            if isinstance(told, Ended):
                return told.response
            assert isinstance(told, Further)
            further = kept.next(told.job, told.result)
            if further is None:
                raise DeviceTimeout("one job followed the other without end", delivery=Delivery.DELIVERED)
            kept, at_once = further, True
            deadline = await ctx.checkpoint(call, kept.encoded())

    # -- the rest of the contract ---------------------------------------------------------------

    async def observe(self, spec: ObserveSpec, deadline: float) -> tuple[DeviceResponse, Observation]:
        """There is no observation over HTTP."""
        raise Unsupported("HTTP devices cannot be observed", delivery=Delivery.NOT_SENT)

    def presence(self, device: str) -> Presence:
        """Inferred: UNKNOWN before the first answer, OFFLINE while the upstream is away."""
        if self._ctx is None:
            return Presence.OFFLINE
        place = self._places.get(device.partition("/")[0])
        if place is None:
            return Presence.UNKNOWN
        return Presence.OFFLINE if place.upstream.breaker.open else self._seen.get(device, Presence.UNKNOWN)

    def window(self, device: str) -> int:
        """How many more requests the device takes now."""
        place = self._places.get(device.partition("/")[0])
        if self._ctx is None or place is None:
            return 0
        if place.upstream.breaker.open:
            # Whoever is turned away now is told when the upstream is back.
            self._hear(device, Presence.OFFLINE, new_only=True)
            return 0
        if self._open.total() >= self._settings.total:
            return 0
        return max(0, self._settings.inflight - self._open[device])

    def lane(self, device: str) -> str:
        """Every device is a lane of its own."""
        return device

    def health(self) -> Mapping[str, Any]:
        """Degraded while one of the upstreams is away or refuses the sign-in."""
        if self._ctx is None:
            return {"state": "down"}
        upstreams = {name: _health(place) for name, place in self._places.items()}
        good = all(one["state"] == "up" for one in upstreams.values())
        return {"state": "up" if good else "degraded", "open": self._open.total(), "upstreams": upstreams}

    # -- inside ---------------------------------------------------------------------------------

    def taken(self, device: str, n: int) -> None:
        """Count the requests under way to a device."""
        self._open[device] += n
        if not self._open[device]:
            del self._open[device]

    @contextmanager
    def _slot(self, device: str) -> Iterator[Slot]:
        slot = Slot(self, device)
        try:
            yield slot
        finally:
            slot.free()

    def _started(self, delivery: Delivery) -> AdapterContext:
        if self._ctx is None:
            raise NotConnected("the adapter is not started", delivery=delivery)
        return self._ctx

    def _judge(self, req: DeviceRequest) -> None:
        if req.method not in METHODS:
            raise Unsupported(f"no method {req.method}", delivery=Delivery.NOT_SENT)
        if not req.target:
            raise BadRequest("the target is empty", delivery=Delivery.NOT_SENT)
        path_of("", req.target, req.query)
        content_type_of(req.content_type)
        content_type_of(req.accept)
        if len(req.payload) > self.capabilities.max_payload:
            raise TooLarge(f"at most {self.capabilities.max_payload} bytes", delivery=Delivery.NOT_SENT)

    def _find(self, device: str) -> tuple[Place, str]:
        """The place of an address, and what of it belongs in front of targets."""
        name, slash, prefix = device.partition("/")
        place = self._places.get(name)
        if place is None or (slash and not place.upstream.settings.paths):
            raise BadRequest("the address of the device names no upstream", delivery=Delivery.NOT_SENT)
        return place, prefix

    def _known(self, device: str) -> Place:
        try:
            return self._find(device)[0]
        except BadRequest as error:
            raise NotConnected(error.detail, delivery=Delivery.DELIVERED) from None

    def _headers(self, req: DeviceRequest) -> dict[str, str]:
        kind = req.content_type or "application/octet-stream"
        given = {"Content-Type": kind if req.payload else None, "Accept": req.accept}
        if self._shape is not None:
            given |= {"Accept": req.accept or "application/json", "Content-Type": req.content_type or "application/json"}
            if self._shape.key and req.method not in READS:
                given[self._shape.key] = req.call_id
        return {name: value for name, value in given.items() if value is not None}

    def _until(self, ctx: AdapterContext, req: DeviceRequest) -> float:
        return min(req.deadline, ctx.clock.monotonic() + self._settings.answer.total_seconds())

    def _hear(self, device: str, presence: Presence, *, new_only: bool = False) -> None:
        if new_only and device in self._seen:
            return
        self._seen[device] = presence
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)

    def _changed(self, upstream: Upstream) -> None:
        """An upstream went away or is back: its devices did as well."""
        ctx = self._ctx
        if ctx is None:
            return
        away = upstream.breaker.open
        for device in list(self._seen):
            if device.partition("/")[0] == upstream.name:
                self._seen[device] = Presence.OFFLINE if away else Presence.ONLINE
                kind = EventKind.OFFLINE if away else EventKind.AWAKE
                ctx.emit(DeviceEvent(kind, device, ctx.clock.monotonic()))


def _health(place: Place) -> dict[str, Any]:
    upstream = place.upstream
    state = "away" if upstream.breaker.open else "refused" if upstream.sign_in.refused else "up"
    told: dict[str, Any] = {"state": state, "requests": upstream.requests, "failures": upstream.breaker.failures}
    if place.jobs is not None:
        told |= {"jobs": len(place.jobs), "polls": place.jobs.polls, "rounds": place.jobs.rounds}
    return told
