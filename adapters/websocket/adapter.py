"""Devices that dial in over a WebSocket, behind the adapter contract.

The protocol is `wire.py`, one connection is `session.py`, the way in is `door.py`, who is there `attendance.py`; here
is what the hub asks of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

from adapters.websocket.attendance import Attendance
from adapters.websocket.door import Door
from adapters.websocket.registration import DialInObservation
from adapters.websocket.session import Session
from adapters.websocket.settings import WebSocketSettings, read
from hub.model.device import Presence
from hub.ports.adapter import (
    API_VERSION,
    AdapterContext,
    BadRequest,
    Capabilities,
    Delivery,
    DeviceRequest,
    DeviceResponse,
    DeviceTimeout,
    NotConnected,
    Observation,
    ObserveSpec,
    TooLarge,
    Unsupported,
)

MAX_TARGET = 2048
METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "FETCH", "IPATCH", "INVOKE"})


def create(settings: Mapping[str, Any]) -> WebSocketAdapter:
    """The factory behind the entry point. Raises ValueError that names what is wrong with the settings."""
    return WebSocketAdapter(read(settings))


class WebSocketAdapter:
    """All devices that dial in over a WebSocket."""

    api_version: ClassVar[int] = API_VERSION

    def __init__(self, settings: WebSocketSettings) -> None:
        self._settings = settings
        self.mount = settings.mount
        self.capabilities = Capabilities(
            role=frozenset({"serve"}),
            methods=METHODS,
            observe="native",
            presence="explicit",
            per_device_inflight=settings.window,
            total_inflight=settings.connections * settings.window,
            cancel="remote",
            sleepy=True, no_response=True,
        )
        self._attendance = Attendance(settings)
        self._door = Door(self._attendance, settings)

    @property
    def asgi(self) -> Door:
        """The ASGI application that devices dial; mounted at `mount`, with and without a slash at its end."""
        return self._door

    # -- life -----------------------------------------------------------------------------------

    async def start(self, ctx: AdapterContext) -> None:
        """Let devices in."""
        self._attendance.context = ctx

    async def stop(self, grace: float) -> None:
        """Send every device away with 1012, failing open calls; what is left after `grace` is the server's to cut."""
        await self._attendance.stop(grace)

    def expel(self, device: str) -> None:
        """Close the connection of a device that the hub does not have any more, with 1008."""
        self._attendance.expel(device)

    def send_away(self, device: str) -> None:
        """Close the connection of a device that may come again, with 1008."""
        self._attendance.send_away(device)

    # -- calls ----------------------------------------------------------------------------------

    def check(self, req: DeviceRequest) -> None:
        """Refuse what can be known at once: a method, a target, a size."""
        if req.method not in self.capabilities.methods:
            raise Unsupported(f"no method {req.method}", delivery=Delivery.NOT_SENT)
        if not req.target or len(req.target) > MAX_TARGET or not req.target.isprintable():
            raise BadRequest("a target is printable text", delivery=Delivery.NOT_SENT)
        if len(req.payload) > self.capabilities.max_payload:
            raise TooLarge(f"at most {self.capabilities.max_payload} bytes", delivery=Delivery.NOT_SENT)

    async def call(self, req: DeviceRequest) -> DeviceResponse:
        """One attempt; see the contract."""
        self.check(req)
        session, ctx = self._connected(req.device)
        if req.deadline <= ctx.clock.monotonic():
            raise DeviceTimeout("the deadline is past", delivery=Delivery.NOT_SENT)
        return await (session.tell(req) if req.options.get("no_response") else session.call(req))

    async def observe(self, spec: ObserveSpec, deadline: float) -> tuple[DeviceResponse, Observation]:
        """Ask the device to observe; its refusal is a response, with an observation that is not active."""
        session, ctx = self._connected(spec.device)
        if deadline <= ctx.clock.monotonic():
            raise DeviceTimeout("the deadline is past", delivery=Delivery.NOT_SENT)
        registration = session.registration
        for older in [known for known in registration.observations.values() if known.spec.target == spec.target]:
            await older.cancel()  # one of a target is enough; two would notify twice
        observation = DialInObservation(spec, f"o.{secrets.token_hex(8)}", registration)
        # Known before the answer, because a notification may follow it in the same breath.
        registration.observations[observation.id] = observation
        observation.active = True
        try:
            response = await session.observe(observation, deadline)
        except BaseException:
            registration.observations.pop(observation.id, None)
            observation.active = False
            raise
        if response.status >= 300:
            registration.observations.pop(observation.id, None)
            observation.active = False
        return response, observation

    def _connected(self, address: str) -> tuple[Session, AdapterContext]:
        registration = self._attendance.at(address)
        session = registration.session if registration is not None else None
        if self._attendance.context is None or registration is None or session is None or registration.asleep:
            raise NotConnected("the device is not there", delivery=Delivery.NOT_SENT)
        return session, self._attendance.context

    # -- the rest of the contract ---------------------------------------------------------------

    def presence(self, device: str) -> Presence:
        """Online with a connection, asleep when it said so, else offline."""
        registration = self._attendance.at(device)
        if self._attendance.context is None or registration is None:
            return Presence.OFFLINE
        if registration.asleep:
            return Presence.ASLEEP
        return Presence.OFFLINE if registration.session is None else Presence.ONLINE

    def window(self, device: str) -> int:
        """How many more calls the device takes now."""
        registration = self._attendance.at(device)
        if self._attendance.context is None or registration is None or registration.session is None:
            return 0
        return registration.session.free

    def lane(self, device: str) -> str:
        """Every device is a lane of its own."""
        return device

    def health(self) -> Mapping[str, Any]:
        """Degraded while no further connection is let in."""
        if self._attendance.context is None:
            return {"state": "down"}
        full = self._door.open >= self._settings.connections
        return {
            "state": "degraded" if full else "up",
            "connections": self._door.open,
            "devices": sum(1 for _ in self._attendance.here),
            "shed": self._attendance.shed,
        }
