"""Simulated devices behind the adapter contract: for the demo, for tests, and to prove what the hub promises.

The devices live in this process and execute whatever is sent to them. How each of them behaves comes from the settings
(`settings.py`); all time is the hub's clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from adapters.simulated.array import SimulatedArray
from adapters.simulated.behaviour import Behaviour, Manner
from adapters.simulated.device import SimulatedDevice
from adapters.simulated.enos import SimulatedEnos
from adapters.simulated.exchange import Exchange, Exchanges
from adapters.simulated.execution_log import ExecutionLog
from adapters.simulated.link import Link
from adapters.simulated.model import MODELS, Model
from adapters.simulated.reports import Reports
from adapters.simulated.settings import SimulatedSettings, read
from hub.model.device import ARRAY, Presence
from hub.ports.abilities import KnowsServices
from hub.ports.adapter import (
    API_VERSION,
    AdapterContext,
    BadRequest,
    Busy,
    Capabilities,
    Delivery,
    DeviceRequest,
    DeviceResponse,
    DeviceTimeout,
    NoSuchResource,
    NotConnected,
    Observation,
    ObserveSpec,
    TooLarge,
    Unreachable,
    Unsupported,
)
from hub.ports.clock import monotonic_at

MAX_TARGET = 2048
METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "PATCH", "FETCH", "IPATCH", "INVOKE"})


def create(settings: Mapping[str, Any]) -> SimulatedAdapter:
    """The factory behind the entry point. Raises ValueError that names what is wrong with the settings."""
    return SimulatedAdapter(read(settings))


class SimulatedAdapter:
    """All simulated devices of a hub."""

    api_version: ClassVar[int] = API_VERSION

    def __init__(self, settings: SimulatedSettings) -> None:
        self._settings = settings
        self.capabilities = Capabilities(
            role=frozenset({"serve"}),
            methods=METHODS,
            observe="native",
            presence="explicit",
            per_device_inflight=settings.inflight,
            total_inflight=65_536,
            sleepy=True,
            no_response=True,
        )
        self._devices = {
            entry.address: _kind(entry.model)(
                entry.address, entry.model, entry.name, entry.type or (ARRAY if entry.model.array else None)
            )
            for entry in settings.devices
        }
        for number in range(settings.count):
            address = f"{settings.prefix}{number}"
            self._devices.setdefault(address, SimulatedDevice(address, MODELS["echo"]))
        self._ctx: AdapterContext | None = None
        self._link: Link | None = None
        self._reports: Reports | None = None
        self._log: ExecutionLog | None = None
        self._log_failed = False
        self._exchanges = Exchanges()

    # -- life -----------------------------------------------------------------------------------

    async def start(self, ctx: AdapterContext) -> None:
        """Open the execution log and let all devices register. Raises OSError when the log cannot be opened."""
        if self._ctx is not None:
            return
        if self._settings.execution_log is not None:
            self._log = ExecutionLog(self._settings.execution_log)
        self._log_failed = False
        self._reports = Reports(ctx, len(self._devices))
        self._link = Link(ctx, self._exchanges, self._reports)
        self._ctx = ctx
        for device in self._devices.values():
            device.presence = Presence.ONLINE
            if isinstance(device, SimulatedEnos) and isinstance(ctx, KnowsServices):
                device.services = ctx.services
            self._link.registered(device)

    async def stop(self, grace: float) -> None:
        """Fail open calls, end observations, leave no task. Jobs go on where they are: `resume` finds them."""
        if self._ctx is None:
            return
        assert self._link is not None and self._reports is not None
        self._ctx = None
        self._link.stop()
        self._exchanges.fail(NotConnected("the hub is stopping", delivery=Delivery.MAYBE))
        for device in self._devices.values():
            for observation in device.observations.values():
                observation.active = False
            device.observations.clear()
        await self._reports.stop()
        if self._log is not None:
            self._log.close()
            self._log = None
        self._link = self._reports = None

    # -- calls ----------------------------------------------------------------------------------

    def check(self, req: DeviceRequest) -> None:
        """Refuse what can be known at once: a method, a target, a size, a resource that there is not."""
        if req.method not in self.capabilities.methods:
            raise Unsupported(f"no method {req.method}", delivery=Delivery.NOT_SENT)
        if not req.target or len(req.target) > MAX_TARGET or not req.target.isprintable():
            raise BadRequest("a target is printable text", delivery=Delivery.NOT_SENT)
        if len(req.payload) > self.capabilities.max_payload:
            raise TooLarge(f"at most {self.capabilities.max_payload} bytes", delivery=Delivery.NOT_SENT)
        device = self._devices.get(req.device)
        if device is not None:
            device.check(req)

    async def call(self, req: DeviceRequest) -> DeviceResponse:
        """One attempt; see the contract."""
        ctx, link = self._ctx, self._link
        if ctx is None or link is None:
            raise NotConnected("the adapter is not started", delivery=Delivery.NOT_SENT)
        self.check(req)
        device = self._reachable(req.device)
        now = ctx.clock.monotonic()
        if req.deadline <= now:
            raise DeviceTimeout("the deadline is past", delivery=Delivery.NOT_SENT)
        if self.window(req.device) <= 0:
            raise Busy("the device works on a call", delivery=Delivery.NOT_SENT)
        behaviour = device.behaviour(req.target)
        response = self._execute(device, req, now)
        link.contact(device)
        if req.options.get("no_response"):
            return DeviceResponse(200, native={"sent": True})
        if behaviour.manner is Manner.JOB and behaviour.status is None:
            if isinstance(device, SimulatedArray) and req.method == "GET":
                return response  # an array is asked, whatever it is at work on
            return await self._job(ctx, device, req, response, behaviour)
        if behaviour.manner is Manner.ANSWER and not behaviour.delay:
            return response
        exchange = Exchange(req, ctx.clock)
        self._exchanges.add(exchange)
        device.open += 1
        try:
            link.arrange(device, req, response, behaviour)
            return await exchange.answer
        finally:
            device.open -= 1
            self._exchanges.remove(exchange)

    async def resume(self, req: DeviceRequest, note: bytes) -> DeviceResponse:
        """Carry on with a job. The note says when it ends, so a restart of the hub neither hurries nor repeats it."""
        ctx = self._ctx
        if ctx is None:
            raise NotConnected("the adapter is not started", delivery=Delivery.MAYBE)
        device = self._devices.get(req.device)
        if device is None:
            raise NotConnected("no such device", delivery=Delivery.DELIVERED)
        # What the job does to the device is done again, because the device forgot it with the hub's process; it is
        # not a second execution and is not counted as one.
        response = device.execute(req, ctx.clock.monotonic())
        ends_at = _ends_at(note)
        if isinstance(device, SimulatedArray):
            # What it made since the hub's start is gone with the process, but the job found it there.
            response = _noted(note) or response
        if ends_at <= ctx.clock.now():
            return response  # it ended while the hub was down
        return await self._held(ctx, req, response, ends_at, req.deadline)

    async def _job(
        self,
        ctx: AdapterContext,
        device: SimulatedDevice,
        req: DeviceRequest,
        response: DeviceResponse,
        behaviour: Behaviour,
    ) -> DeviceResponse:
        ends_at = ctx.clock.now() + behaviour.hold
        device.open += 1
        try:
            told = response if isinstance(device, SimulatedArray) else None
            deadline = await ctx.checkpoint(req.call_id, _note(req.call_id, ends_at, told))
        finally:
            device.open -= 1
        return await self._held(ctx, req, response, ends_at, deadline)

    async def _held(
        self, ctx: AdapterContext, req: DeviceRequest, response: DeviceResponse, ends_at: datetime, deadline: float
    ) -> DeviceResponse:
        exchange = Exchange(req, ctx.clock)
        exchange.due(ctx.clock, deadline, Delivery.DELIVERED)
        self._exchanges.add(exchange)
        link = self._link
        assert link is not None
        done = ctx.clock.call_at(
            monotonic_at(ctx.clock, ends_at), link.answer, req.device, exchange.token, response
        )
        try:
            return await exchange.answer
        finally:
            if exchange.answer.cancelled():
                done.cancel()
            self._exchanges.remove(exchange)

    def _execute(self, device: SimulatedDevice, req: DeviceRequest, now: float) -> DeviceResponse:
        if self._log is not None:
            try:
                self._log.write(req)
            except OSError as failure:
                # Without its line an execution could not be proven, so there must be none.
                self._log_failed = True
                raise Unreachable("the execution log cannot be written", delivery=Delivery.NOT_SENT) from failure
            self._log_failed = False
        device.executions += 1
        if device.tap is not None:
            device.tap(req)
        response = device.execute(req, now)
        point = device.point(req.target)
        if point is not None and req.method != "GET" and self._link is not None:
            self._link.changed(device, point)
        return response

    def _reachable(self, address: str) -> SimulatedDevice:
        device = self._devices.get(address)
        if device is None or device.presence is not Presence.ONLINE:
            raise NotConnected("the device is not there", delivery=Delivery.NOT_SENT)
        return device

    # -- the rest of the contract ---------------------------------------------------------------

    async def observe(self, spec: ObserveSpec, deadline: float) -> tuple[DeviceResponse, Observation]:
        """Start an observation of a point that says it is observable."""
        ctx, link = self._ctx, self._link
        if ctx is None or link is None:
            raise NotConnected("the adapter is not started", delivery=Delivery.NOT_SENT)
        device = self._reachable(spec.device)
        if deadline <= ctx.clock.monotonic():
            raise DeviceTimeout("the deadline is past", delivery=Delivery.NOT_SENT)
        point = device.point(spec.target)
        if point is None:
            raise NoSuchResource(f"nothing at {spec.target}", delivery=Delivery.NOT_SENT)
        if not point.observable:
            raise Unsupported(f"{spec.target} cannot be observed", delivery=Delivery.NOT_SENT)
        observation = link.observe(device, point, spec)
        if device.tap is not None:
            device.tap(spec)
        return device.read(point, ctx.clock.monotonic()), observation

    def presence(self, device: str) -> Presence:
        """As the device is; OFFLINE while the adapter is stopped."""
        known = self._devices.get(device)
        return Presence.OFFLINE if known is None or self._ctx is None else known.presence

    def window(self, device: str) -> int:
        """How many more calls the device takes now."""
        known = self._devices.get(device)
        if self._ctx is None or known is None or known.presence is not Presence.ONLINE:
            return 0
        if len(self._exchanges) >= self.capabilities.total_inflight:
            return 0
        return max(0, self._settings.inflight - known.open)

    def lane(self, device: str) -> str:
        """Every device is a lane of its own."""
        return device

    def health(self) -> Mapping[str, Any]:
        """Degraded while the execution log cannot be written."""
        if self._ctx is None:
            return {"state": "down"}
        link, reports = self._link, self._reports
        assert link is not None and reports is not None
        return {
            "state": "degraded" if self._log_failed else "up",
            "devices": len(self._devices),
            "open": len(self._exchanges),
            "shed": link.shed + reports.shed,
        }

    # -- for the rig ----------------------------------------------------------------------------

    def device(self, address: str) -> SimulatedDevice:
        """A device itself, for the tests' double to act on. KeyError if there is none."""
        return self._devices[address]

    @property
    def log_file(self) -> int:
        """The descriptor of the open execution log."""
        assert self._log is not None
        return self._log.file

    @property
    def link(self) -> Link:
        """The link to the devices while the adapter is started."""
        assert self._link is not None
        return self._link


def _kind(model: Model) -> type[SimulatedDevice]:
    if model.array:
        return SimulatedArray
    return SimulatedEnos if model.enos else SimulatedDevice


def _note(job: str, ends_at: datetime, told: DeviceResponse | None = None) -> bytes:
    note: dict[str, Any] = {"job": job, "ends_at": ends_at.isoformat()}
    if told is not None:
        note["told"] = [told.status, told.payload.decode(), told.content_type, dict(told.native)]
    return json.dumps(note).encode()


def _noted(note: bytes) -> DeviceResponse | None:
    told = json.loads(note).get("told")
    if told is None:
        return None
    status, payload, content_type, native = told
    return DeviceResponse(status, payload.encode(), content_type, native=native)


def _ends_at(note: bytes) -> datetime:
    ends_at = datetime.fromisoformat(json.loads(note)["ends_at"])
    if ends_at.tzinfo is None:
        raise ValueError("the note of a job names no time zone")
    return ends_at
