"""Devices that dial in over a WebSocket, behind the adapter contract.

The protocol is `wire.py`, one connection is `session.py`, the way in is `door.py`; here is who is there, and in which
order the hub hears of coming and going.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import anyio
from starlette.websockets import WebSocket

from adapters.websocket.coding import Subprotocol
from adapters.websocket.door import Door
from adapters.websocket.frame import Hello
from adapters.websocket.inbound import resources_of
from adapters.websocket.registration import DialInObservation, Registration
from adapters.websocket.session import NOT_ADMITTED, Session
from adapters.websocket.settings import WebSocketSettings, read
from hub.model.device import Presence
from hub.model.errors import StorageFailed, UnknownDevice
from hub.ports.abilities import WatchesKeys
from hub.ports.adapter import (
    API_VERSION,
    AdapterContext,
    Admission,
    BadRequest,
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

MAX_TARGET = 2048
METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "FETCH", "IPATCH", "INVOKE"})

log = logging.getLogger("hub.adapter.websocket")


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
        self.context: AdapterContext | None = None
        self._door = Door(self, settings)
        self._registrations: dict[str, Registration] = {}
        self._sessions: set[Session] = set()
        self._shed = 0
        self._nobody = asyncio.Event()

    @property
    def asgi(self) -> Door:
        """The ASGI application that devices dial; mounted at `mount`, with and without a slash at its end."""
        return self._door

    # -- life -----------------------------------------------------------------------------------

    async def start(self, ctx: AdapterContext) -> None:
        """Let devices in."""
        self.context = ctx

    async def stop(self, grace: float) -> None:
        """Send every device away with 1012, failing open calls; what is left after `grace` is the server's to cut."""
        ctx = self.context
        if ctx is None:
            return
        self.context = None
        for session in list(self._sessions):
            session.close(1012, "the hub restarts")
        with anyio.CancelScope() as scope:
            limit = ctx.clock.call_at(ctx.clock.monotonic() + grace, scope.cancel)
            try:
                while self._sessions:
                    self._nobody.clear()
                    await self._nobody.wait()
            finally:
                limit.cancel()
        for registration in self._registrations.values():
            registration.drop_observations()
        self._registrations.clear()

    async def serve(self, socket: WebSocket, coding: Subprotocol, hello: Hello, admission: Admission) -> None:
        """The whole stay of an admitted device."""
        ctx = self.context
        if ctx is None:
            return
        registration = self._registrations.setdefault(admission.address, Registration(admission.address))
        window = min(hello.win or self._settings.window, self._settings.window)
        session = Session(socket, coding, registration, ctx, self._settings, window)
        older, registration.session = registration.session, session
        if older is not None:
            older.close(4501, "replaced by a newer connection")
        self._sessions.add(session)
        unwatch = _watch(ctx, admission.key_id, session)
        arrived = False
        try:
            same = registration.boot == hello.boot
            resumed = same and (hello.resume is not None or not registration.observations)
            try:
                arrived = await self._arrived(ctx, registration, session, hello, same, resumed)
            except UnknownDevice:
                self._drop(registration)
                session.dismiss()
            if not arrived:
                session.close(1013, "try again later")
            refresh = self._refresh(ctx, registration, session)
            try:
                await session.run(same and resumed)
            finally:
                refresh.cancel()
        finally:
            unwatch()
            self._sessions.discard(session)
            if not self._sessions:
                self._nobody.set()
            self._shed += session.shed
            if registration.session is session:
                registration.session = None
                if arrived:
                    await self._left(ctx, registration, session)

    async def _arrived(
        self,
        ctx: AdapterContext,
        registration: Registration,
        session: Session,
        hello: Hello,
        same: bool,
        resumed: bool,
    ) -> bool:
        """Tell the hub who came; False if it could not take it. The device is welcomed after this."""
        now = ctx.clock.monotonic()
        attrs: dict[str, object] = {
            "lifetime": self._settings.lifetime.total_seconds(), "boot": hello.boot, "queue_mode": False,
        }
        if hello.links is not None:
            attrs["links"] = resources_of(hello.links)
        address = registration.address
        try:
            async with registration.reporting:
                if registration.session is not session:
                    return True  # an even newer connection reports itself
                ended = [] if resumed else registration.drop_observations()
                observations = [
                    DeviceEvent(EventKind.OBSERVE_ENDED, address, now, target=spec.target) for spec in ended
                ]
                if not same:
                    registration.last_event = -1
                registration.boot = hello.boot
                registration.asleep = False
                registration.offline_since = None
                # The hub begins ended observations anew while the device is there: of a device that stayed alive
                # it hears of them once it knows that it is back, of one that started anew before that.
                coming = (
                    [DeviceEvent(EventKind.UPDATED, address, now, attrs=attrs),
                     DeviceEvent(EventKind.AWAKE, address, now), *observations]
                    if same
                    else [*observations, DeviceEvent(EventKind.REGISTERED, address, now, attrs=attrs)]
                )
                for event in coming:
                    await ctx.accept(event)
        except StorageFailed:
            registration.boot = None
            return False
        except UnknownDevice:
            registration.boot = None
            raise
        return True

    def _refresh(self, ctx: AdapterContext, registration: Registration, session: Session) -> asyncio.Task[None]:
        """Renew the registration while the device stays, as long before its end as a device would."""

        async def renew() -> None:
            lifetime = self._settings.lifetime.total_seconds()
            while True:
                await ctx.clock.sleep_until(ctx.clock.monotonic() + lifetime / 4)
                now = ctx.clock.monotonic()
                try:
                    async with registration.reporting:
                        if registration.session is session:
                            attrs = {"lifetime": lifetime}
                            await ctx.accept(DeviceEvent(EventKind.UPDATED, registration.address, now, attrs=attrs))
                except UnknownDevice:
                    session.dismiss()
                    return
                except StorageFailed as failure:
                    log.warning("a registration could not be renewed now: %s", failure)

        return ctx.spawn(renew(), name=f"{ctx.name}-renew")

    async def _left(self, ctx: AdapterContext, registration: Registration, session: Session) -> None:
        """Tell the hub that the device is gone, unless it is back already or the hub itself is going."""
        now = ctx.clock.monotonic()
        registration.offline_since = now
        if session.signed_off:
            self._drop(registration)
            return
        if self.context is not ctx:
            return
        ctx.clock.call_at(now + self._settings.lifetime.total_seconds(), self._forget, registration, now)
        if registration.asleep:
            return  # it said so before it hung up: that is how it sleeps
        async with registration.reporting:
            if registration.session is None:
                try:
                    await ctx.accept(DeviceEvent(EventKind.OFFLINE, registration.address, now))
                except UnknownDevice:
                    self._drop(registration)
                except StorageFailed as failure:
                    log.warning("a lost connection could not be told: %s", failure)

    def _forget(self, registration: Registration, since: float) -> None:
        if registration.offline_since == since and registration.session is None:
            self._drop(registration)

    def _drop(self, registration: Registration) -> None:
        registration.drop_observations()
        if self._registrations.get(registration.address) is registration:
            del self._registrations[registration.address]

    def expel(self, device: str) -> None:
        """Close the connection of a device that the hub does not have any more, with 1008."""
        registration = self._registrations.get(device)
        if registration is not None:
            self._drop(registration)
            if registration.session is not None:
                registration.session.dismiss()

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
        registration = self._registrations.get(address)
        session = registration.session if registration is not None else None
        if self.context is None or registration is None or session is None or registration.asleep:
            raise NotConnected("the device is not there", delivery=Delivery.NOT_SENT)
        return session, self.context

    # -- the rest of the contract ---------------------------------------------------------------

    def presence(self, device: str) -> Presence:
        """Online with a connection, asleep when it said so, else offline."""
        registration = self._registrations.get(device)
        if self.context is None or registration is None:
            return Presence.OFFLINE
        if registration.asleep:
            return Presence.ASLEEP
        return Presence.OFFLINE if registration.session is None else Presence.ONLINE

    def window(self, device: str) -> int:
        """How many more calls the device takes now."""
        registration = self._registrations.get(device)
        if self.context is None or registration is None or registration.session is None:
            return 0
        return registration.session.free

    def lane(self, device: str) -> str:
        """Every device is a lane of its own."""
        return device

    def health(self) -> Mapping[str, Any]:
        """Degraded while no further connection is let in."""
        if self.context is None:
            return {"state": "down"}
        full = self._door.open >= self._settings.connections
        here = [r.session for r in self._registrations.values() if r.session is not None]
        return {
            "state": "degraded" if full else "up",
            "connections": self._door.open,
            "devices": len(here),
            "shed": self._shed + sum(session.shed for session in here),
        }


def _watch(ctx: AdapterContext, key_id: str | None, session: Session) -> Callable[[], None]:
    """Close the connection when the key that let the device in is taken back; returns the unwatch."""
    if key_id is None or not isinstance(ctx, WatchesKeys):
        return _nothing
    return ctx.watch_key(key_id, lambda: session.close(1008, NOT_ADMITTED))


def _nothing() -> None:
    """The unwatch where nothing is watched."""
