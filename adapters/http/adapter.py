"""HTTP devices and job upstreams behind the adapter contract.

A device's address is the name of an upstream of the settings, with a path behind it where the settings allow that; an
address can name no server that the operator did not. Plain devices answer by themselves. A job upstream takes a change
and holds it: its job is noted with the call before anything else happens, and `jobs.py` asks after it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from adapters.http import note as notes
from adapters.http.settings import METHODS, HttpSettings, read
from adapters.http.slots import Slot, Slots
from adapters.http.submit import Submits
from adapters.http.upstream import READS, Upstream
from adapters.http.wire import content_type_of, path_of, response_of
from hub.model.device import Presence
from hub.ports.adapter import (
    API_VERSION,
    AdapterContext,
    BadRequest,
    Busy,
    CallError,
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

MOST_SEEN = 100_000
MOST_READS = 32
"""Questions to one job upstream at a time."""


def create(settings: Mapping[str, Any]) -> HttpAdapter:
    """The factory behind the entry point. Raises ValueError that names what is wrong with the settings."""
    return HttpAdapter(read(settings))


@dataclass(slots=True)
class Place:
    """An upstream with what belongs to it; `submits` where it holds jobs."""

    upstream: Upstream
    submits: Submits | None = None
    poller: asyncio.Task[None] | None = None


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
            late_answers=False,
            max_payload=settings.max_payload,
            attempt_timeout=settings.attempt_timeout.total_seconds(),
        )
        self._ctx: AdapterContext | None = None
        self._places: dict[str, Place] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._changes = Slots(settings.inflight, settings.total)
        self._reads = Slots(MOST_READS, MOST_SEEN)
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
                place.submits = Submits(place.upstream, self._shape, self._settings, ctx)
                place.poller = ctx.spawn(place.submits.run(), name=f"jobs of {name}")
                self._tasks.append(place.poller)
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
            if place.submits is not None:
                place.submits.stop()
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
        path = path_of(prefix, req.target, req.query)
        slot = self._slot(place, req)
        self._seen.setdefault(req.device, Presence.UNKNOWN)
        with slot:
            if place.submits is not None and req.method not in READS:
                response = await place.submits.submit(req, prefix, slot)
            else:
                until = req.deadline
                if place.submits is not None:
                    until = min(until, ctx.clock.monotonic() + self._settings.answer.total_seconds())
                ask = place.upstream.ask
                answer = await ask(req.method, path, until, headers=self._headers(req), body=req.payload)
                response = response_of(answer, ctx.clock.now())
        self._heard(req.device)
        return response

    async def resume(self, req: DeviceRequest, note: bytes) -> DeviceResponse:
        """Go on asking after a job. Nothing is ever submitted again."""
        self._started(Delivery.MAYBE)
        place = self._known(req.device)
        try:
            kept = notes.decoded(note)
        except ValueError as error:
            raise NotConnected(str(error), delivery=Delivery.DELIVERED) from None
        if place.submits is None:
            raise NotConnected("the upstream holds no jobs any more", delivery=Delivery.DELIVERED)
        return await place.submits.hold(req.call_id, kept, req.deadline, 0.0)

    async def recover(self, req: DeviceRequest, sent_at: datetime) -> DeviceResponse:
        """Find out what became of a change that was sent before a restart and whose answer was lost."""
        self._started(Delivery.MAYBE)
        place = self._known(req.device)
        if place.submits is None or req.method in READS:
            raise NotConnected("nobody can tell what became of it", delivery=Delivery.MAYBE)
        prefix = req.device.partition("/")[2]
        return await place.submits.find(req, prefix, sent_at, lambda: self._changes.turn(req.device))

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
            if device not in self._seen:
                self._see(device, Presence.OFFLINE)
            return 0
        return self._changes.room(device)

    def lane(self, device: str) -> str:
        """Every device is a lane of its own."""
        return device

    def health(self) -> Mapping[str, Any]:
        """Degraded while one of the upstreams is away, refuses the sign-in or fails on jobs; down when jobs are not
        asked after."""
        if self._ctx is None:
            return {"state": "down"}
        upstreams = {name: _health(place) for name, place in self._places.items()}
        states = {one["state"] for one in upstreams.values()}
        state = "down" if "down" in states else "up" if states <= {"up"} else "degraded"
        under_way = self._changes.total + self._reads.total
        return {"state": state, "open": under_way, "upstreams": upstreams}

    async def look(self, device: str) -> bool:
        """Look now whether the upstream of a device answers, instead of when it is time again."""
        upstream = self._find(device)[0].upstream
        with contextlib.suppress(CallError):
            await upstream.look()
        return not upstream.breaker.open

    # -- inside ---------------------------------------------------------------------------------

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
        kind = req.content_type or ("application/octet-stream" if req.payload else None)
        given = (("Content-Type", kind), ("Accept", req.accept))
        told = {name: value for name, value in given if value is not None}
        return {**told, self._settings.call_id: req.call_id} if self._settings.call_id else told

    def _slot(self, place: Place, req: DeviceRequest) -> Slot:
        """A place among the requests under way to a device. Raises Busy.

        A job upstream is asked for what it holds beside the change that it is about to take.
        """
        if place.submits is not None and req.method in READS:
            if not self._reads.room(req.device):
                raise Busy("the device is asked too much", delivery=Delivery.NOT_SENT)
            return self._reads.take(req.device)
        if self.window(req.device) <= 0:
            raise Busy("the device works on a call", delivery=Delivery.NOT_SENT)
        return self._changes.take(req.device)

    def _heard(self, device: str) -> None:
        if self._ctx is not None and self._seen.get(device) is not Presence.ONLINE:
            self._see(device, Presence.ONLINE)
            self._ctx.emit(DeviceEvent(EventKind.AWAKE, device, self._ctx.clock.monotonic()))

    def _see(self, device: str, presence: Presence) -> None:
        self._seen[device] = presence
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)

    def _changed(self, upstream: Upstream) -> None:
        """An upstream went away or is back: its devices did as well."""
        ctx = self._ctx
        if ctx is None:
            return
        away = upstream.breaker.open
        place = self._places.get(upstream.name)
        if not away and place is not None and place.submits is not None:
            place.submits.jobs.back()
        for device in list(self._seen):
            if device.partition("/")[0] == upstream.name:
                self._seen[device] = Presence.OFFLINE if away else Presence.ONLINE
                kind = EventKind.OFFLINE if away else EventKind.AWAKE
                ctx.emit(DeviceEvent(kind, device, ctx.clock.monotonic()))


def _health(place: Place) -> dict[str, Any]:
    upstream = place.upstream
    state = "away" if upstream.breaker.open else "refused" if upstream.sign_in.refused else "up"
    if state == "up" and place.submits is not None and place.submits.failing:
        state = "failing"
    if place.poller is not None and place.poller.done():
        state = "down"
    told: dict[str, Any] = {"state": state, "requests": upstream.requests, "failures": upstream.breaker.failures}
    if place.submits is not None:
        told |= place.submits.health()
    return told
