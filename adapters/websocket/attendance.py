"""Who is there, and in which order the hub hears of coming and going: all connections of admitted devices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

import anyio
from starlette.websockets import WebSocket

from adapters.websocket.coding import Subprotocol
from adapters.websocket.frame import Hello
from adapters.websocket.inbound import resources_of
from adapters.websocket.registration import Registration
from adapters.websocket.session import NOT_ADMITTED, Session
from adapters.websocket.settings import WebSocketSettings
from hub.model.errors import StorageFailed, UnknownDevice
from hub.ports.abilities import WatchesKeys
from hub.ports.adapter import AdapterContext, Admission, DeviceEvent, EventKind

log = logging.getLogger("hub.adapter.websocket")


class Attendance:
    """The registrations of devices, with the session of each that is there; nobody is let in without a `context`."""

    def __init__(self, settings: WebSocketSettings) -> None:
        self._settings = settings
        self._registrations: dict[str, Registration] = {}
        self._sessions: set[Session] = set()
        self._shed = 0
        self._nobody = asyncio.Event()
        self.context: AdapterContext | None = None

    def at(self, address: str) -> Registration | None:
        """What is remembered of a device."""
        return self._registrations.get(address)

    @property
    def here(self) -> Iterator[Session]:
        """The sessions of the devices that are there."""
        return (known.session for known in self._registrations.values() if known.session is not None)

    @property
    def shed(self) -> int:
        """How many notifications the hub had no room for."""
        return self._shed + sum(session.shed for session in self.here)

    # -- life -----------------------------------------------------------------------------------

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
        registration.offline_since = now = ctx.clock.monotonic()
        if session.signed_off:
            self._drop(registration)
            return
        if self.context is not ctx:
            return
        self._forget_later(ctx, registration)
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

    def send_away(self, device: str) -> None:
        """Close the connection of a device that may come again, with 1008; it is remembered as after a lost one."""
        registration = self._registrations.get(device)
        if registration is None:
            return
        registration.asleep = False
        session, registration.session = registration.session, None
        if session is None:
            return
        session.close(1008, NOT_ADMITTED)
        if self.context is not None:
            self._forget_later(self.context, registration)

    def _forget_later(self, ctx: AdapterContext, registration: Registration) -> None:
        now = registration.offline_since = ctx.clock.monotonic()
        ctx.clock.call_at(now + self._settings.lifetime.total_seconds(), self._forget, registration, now)


def _watch(ctx: AdapterContext, key_id: str | None, session: Session) -> Callable[[], None]:
    """Close the connection when the key that let the device in is taken back; returns the unwatch."""
    if key_id is None or not isinstance(ctx, WatchesKeys):
        return _nothing
    return ctx.watch_key(key_id, lambda: session.close(1008, NOT_ADMITTED))


def _nothing() -> None:
    """The unwatch where nothing is watched."""
