"""EnOS devices that dial in over MQTT 3.1.1, behind the adapter contract: a device end, not a broker.

The bytes are `codec.py`, one connection is `connection.py`, what its devices say is `session.py` and `inbound.py`;
here is who is there, and in which order the hub hears of coming and going.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from adapters.mqtt import topics, wire
from adapters.mqtt.listener.connection import Connection
from adapters.mqtt.listener.door import Door
from adapters.mqtt.listener.gateway import Gateway
from adapters.mqtt.listener.inbound import RAW, Inbound, keep
from adapters.mqtt.listener.registration import Gone, PostedObservation, Registration
from adapters.mqtt.listener.session import Session
from adapters.mqtt.listener.settings import MqttSettings, read
from adapters.mqtt.listener.stored import Stored
from adapters.mqtt.topics import Name
from adapters.mqtt.wire import Command
from hub.model.device import Presence
from hub.model.errors import HubError, StorageFailed, UnknownDevice
from hub.ports.abilities import FindsDevices
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
NOTHING_YET = DeviceResponse(204)

log = logging.getLogger("hub.adapter.mqtt")


def create(settings: Mapping[str, Any]) -> MqttAdapter:
    """The factory behind the entry point. Raises ValueError that names what is wrong with the settings."""
    return MqttAdapter(read(settings))


class MqttAdapter:
    """All devices that dial in over MQTT."""

    api_version: ClassVar[int] = API_VERSION

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        self.capabilities = Capabilities(
            role=frozenset({"serve"}),
            methods=wire.METHODS,
            idempotent_methods=frozenset({"GET", "PUT"}),
            observe="native",
            presence="explicit",
            per_device_inflight=settings.window,
            total_inflight=settings.connections * settings.window,
        )
        self._ctx: AdapterContext | None = None
        self._door = Door(self, settings)
        self._inbound: Inbound | None = None
        self._registrations: dict[str, Registration] = {}
        self._stored = Stored()
        self._ignored = 0

    # -- life -----------------------------------------------------------------------------------

    async def start(self, ctx: AdapterContext) -> None:
        """Let devices in. Raises CannotListen where a port cannot be had."""
        if self._ctx is not None:
            return
        await self._stored.recall(ctx)
        self._inbound = Inbound(ctx, self._settings, Gateway(ctx, self, self._settings.sub_devices, keep))
        await self._door.open(ctx)
        self._ctx = ctx

    async def stop(self, grace: float) -> None:
        """Send every device away, failing open calls at once."""
        if self._ctx is None:
            return
        self._ctx = None
        await self._door.close(grace)
        self._registrations.clear()

    async def quiet(self) -> None:
        """Return when no connection is left."""
        await self._door.empty()

    def session(self, connection: Connection, name: Name, admission: Admission) -> Session:
        """The stay of an admitted device; one that is only told its secret has no place here yet."""
        assert self._ctx is not None and self._inbound is not None
        own = None if admission.grant is not None else self._registration(admission.address, name)
        return Session(connection, own, self._ctx, self._settings, self._inbound.request, self._behind)

    def _registration(self, address: str, name: Name) -> Registration:
        known = self._registrations.get(address)
        if known is None:
            known = self._registrations[address] = Registration(address, name)
            known.facts = self._stored.facts(address)
        known.name = name
        return known

    async def arrived(self, session: Session, name: Name, admission: Admission, boot: str) -> Registration:
        """A device is there, by itself or behind a gateway: it takes the place of an older connection, and the hub is
        told who came. A connection that has ended meanwhile takes nobody's place. Raises StorageFailed, UnknownDevice,
        Gone."""
        ctx = self._ctx
        if ctx is None:
            raise StorageFailed("the hub stops")
        if session.ended:
            raise Gone
        registration = self._registration(admission.address, name)
        older, registration.session = registration.session, session
        session.enter(name, registration)
        if older is not None and older is not session:
            if older.own is registration:
                older.connection.abort("replaced by a newer connection")
            else:
                older.forget(registration, "replaced by a newer connection")
        async with registration.reporting:
            if session.ended:
                raise Gone
            if registration.session is not session:
                return registration  # an even newer connection reports itself
            same, registration.boot = registration.boot == boot, boot
            now = ctx.clock.monotonic()
            if same:
                event = DeviceEvent(EventKind.AWAKE, registration.address, now)
            else:
                attrs = {"boot": boot, "queue_mode": False}
                event = DeviceEvent(EventKind.REGISTERED, registration.address, now, attrs=attrs)
            try:
                await ctx.accept(event)
            except UnknownDevice:
                self._nowhere(registration)
                raise
            except HubError:
                registration.boot = None
                raise
        if session.ended:
            raise Gone  # `left` tells that it is gone, behind what was told here
        return registration

    async def left(self, session: Session, registrations: list[Registration]) -> None:
        """Tell the hub that devices are gone, unless they are back already or the hub itself is going."""
        gone = [registration for registration in registrations if registration.session is session]
        for registration in gone:
            registration.session = None
        for registration in gone:
            async with registration.reporting:
                ctx = self._ctx
                if ctx is not None and registration.session is None:
                    event = DeviceEvent(EventKind.OFFLINE, registration.address, ctx.clock.monotonic())
                    try:
                        await ctx.accept(event)
                    except UnknownDevice:
                        self._nowhere(registration)
                    except HubError as failure:
                        log.warning("a lost connection could not be told: %s", failure)

    def abandon(self, session: Session) -> None:
        """A connection ended because the hub stops: nobody is told."""
        for registration in session.routes.values():
            if registration.session is session:
                registration.session = None

    def expel(self, device: str) -> None:
        """Close the connection of a device that the hub does not have any more, and forget what it had stored."""
        self.send_away(device)
        self._registrations.pop(device, None)
        self._stored.forget(device)

    def send_away(self, device: str) -> None:
        """Close the connection of a device that may come again; a gateway's goes on without it."""
        registration = self._registrations.get(device)
        session = None if registration is None else self._away(registration)
        if registration is not None and session is not None:
            session.dismiss(registration)

    def order(self, identity: str, verb: str) -> None:
        """Tell the gateway of a sub-device what became of it; of a deleted one it knows nothing then."""
        product, _, key = identity.partition("/")
        name, ctx = (product, key), self._ctx
        gateway = self.gateway_of(name)
        if gateway is None or ctx is None or self._inbound is None:
            return
        if gateway.session is not None and not gateway.session.ended and gateway.session.welcomed:
            gateway.session.order(gateway.name, verb, name)
        if verb == "delete":
            self._stored.bereave(name)
            ctx.spawn(self._inbound.bereave(gateway, name), name="topology")

    def _away(self, registration: Registration) -> Session | None:
        """The device is nowhere, and comes to a new life; what was stored for it stays. Returns where it was."""
        session, registration.session, registration.boot = registration.session, None, None
        for observation in registration.observations.values():
            observation.active = False
        registration.observations.clear()
        return session

    def _nowhere(self, registration: Registration) -> None:
        """The hub does not take the device. If it was deleted, `expel` came before: there is nothing to forget. What it
        took back of what the hub read at its start is in its registration only."""
        self._away(registration)
        address = registration.address
        nothing = registration.facts.empty and self._stored.facts(address).empty
        if nothing and self._registrations.get(address) is registration:
            del self._registrations[address]

    def shed_session(self, session: Session) -> None:
        """Keep the figures of a connection that is over."""
        self._ignored += session.ignored

    # -- gateways -------------------------------------------------------------------------------

    def gateway_of(self, name: Name) -> Registration | None:
        """The gateway in whose topology a device is."""
        address = self._stored.gateway_of(name)
        return None if address is None else self._registration(address, self._name_of(address))

    def _behind(self, session: Session, name: Name) -> Registration | None:
        """A sub-device that is in the topology of the gateway, and nowhere now."""
        gateway, ctx = session.own, self._ctx
        if gateway is None or self._stored.gateway_of(name) != gateway.address or not isinstance(ctx, FindsDevices):
            return None
        address = ctx.address_of("/".join(name))
        if address is None:
            return None
        known = self._registrations.get(address)
        if known is not None and known.session is not None and not known.session.ended:
            return None
        return self._registration(address, name)

    def _name_of(self, address: str) -> Name:
        known = self._registrations.get(address)
        return known.name if known is not None else ("", "")

    def know_topology(self, gateway: Registration) -> None:
        """A gateway's topology has changed."""
        self._stored.know_topology(gateway)

    # -- calls ----------------------------------------------------------------------------------

    def check(self, req: DeviceRequest) -> None:
        """Refuse what can be known at once: a method, a target, a size, an input that is no JSON."""
        self._command(req)

    def _command(self, req: DeviceRequest) -> Command:
        if len(req.payload) > self.capabilities.max_payload:
            raise TooLarge(f"at most {self.capabilities.max_payload} bytes", delivery=Delivery.NOT_SENT)
        if len(req.target) > MAX_TARGET:
            raise BadRequest("the target is too long", delivery=Delivery.NOT_SENT)
        return wire.command(req)

    async def call(self, req: DeviceRequest) -> DeviceResponse:
        """One attempt; see the contract."""
        command = self._command(req)
        session, registration, ctx = self._connected(req.device)
        if req.deadline <= ctx.clock.monotonic():
            raise DeviceTimeout("the deadline is past", delivery=Delivery.NOT_SENT)
        return await session.call(registration, req.call_id, command, req.deadline)

    async def observe(self, spec: ObserveSpec, deadline: float) -> tuple[DeviceResponse, Observation]:
        """Devices post by themselves: an observation begins with the hub, and for a point with its present value."""
        kind, _, name = spec.target.strip("/").partition("/")
        if spec.target != RAW and (kind not in ("measurepoint", "event") or not topics.is_service(name)):
            raise Unsupported("there are /measurepoint/<point>, /event/<event> and /raw", delivery=Delivery.NOT_SENT)
        session, registration, ctx = self._connected(spec.device)
        if deadline <= ctx.clock.monotonic():
            raise DeviceTimeout("the deadline is past", delivery=Delivery.NOT_SENT)
        observation = PostedObservation(spec, registration)
        older = registration.observations.get(spec.target)
        if older is not None:
            older.active = False  # one of a target is enough
        registration.observations[spec.target] = observation
        if kind != "measurepoint":
            return NOTHING_YET, observation
        try:
            # Beside the window: a read that begins an observation takes no call's place.
            response, observation.began = await session.read(registration, name, deadline)
        except BaseException:
            await observation.cancel()
            raise
        if response.status >= 300:
            await observation.cancel()
        return response, observation

    def _connected(self, address: str) -> tuple[Session, Registration, AdapterContext]:
        registration = self._registrations.get(address)
        session = registration.session if registration is not None else None
        if self._ctx is None or registration is None or session is None or session.ended:
            raise NotConnected("the device is not there", delivery=Delivery.NOT_SENT)
        return session, registration, self._ctx

    # -- the rest of the contract ---------------------------------------------------------------

    def presence(self, device: str) -> Presence:
        """Online with a connection, its own or its gateway's."""
        registration = self._registrations.get(device)
        session = registration.session if registration is not None else None
        if self._ctx is None or session is None or session.ended:
            return Presence.OFFLINE
        return Presence.ONLINE

    def window(self, device: str) -> int:
        """How many more calls the device takes now."""
        registration = self._registrations.get(device)
        if self._ctx is None or registration is None or registration.session is None:
            return 0
        return registration.session.free(registration)

    def lane(self, device: str) -> str:
        """Every device is a lane of its own, also behind a gateway."""
        return device

    def health(self) -> Mapping[str, Any]:
        """Degraded while no further connection is let in."""
        if self._ctx is None:
            return {"state": "down"}
        here = sum(1 for one in self._registrations.values() if one.session is not None)
        return {
            "state": "degraded" if self._door.full else "up",
            "ports": dict(self._door.ports),
            "connections": len(self._door.connections),
            "devices": here,
            "refused": self._door.refused,
            "ignored": self._ignored,
        }
