"""Devices that come, stay and go: Register, Update and Deregister (LwM2M 1.0 to 1.2), and expiry.

Nothing is answered before the hub holds it, and what happens to one device happens in order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adapters.lwm2m import codec
from adapters.lwm2m.announced import Announced, OtherVersion, Senseless, announced, grace, renewed
from adapters.lwm2m.codec import Options
from adapters.lwm2m.crew import Crew
from adapters.lwm2m.exchange import EXCHANGE_LIFETIME, Peer
from adapters.lwm2m.generations import Generations
from adapters.lwm2m.memory import remembered
from adapters.lwm2m.mids import Mids
from adapters.lwm2m.option import LOCATION_PATH, MAX_AGE, uint
from adapters.lwm2m.queues import Queues
from adapters.lwm2m.reach import Reach
from adapters.lwm2m.registration import Registration, Terms
from adapters.lwm2m.registry import Registry
from adapters.lwm2m.settings import LwM2MSettings
from adapters.lwm2m.throttle import Throttle
from adapters.lwm2m.wheel import Wheel
from hub.model.errors import HubError, NotTaken, UnknownDevice
from hub.ports.adapter import AdapterContext, Admission, AdmissionRefused, DeviceEvent, EventKind

MOST_DEPARTED = 16_384

log = logging.getLogger("hub.adapter.lwm2m")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a device is told. `awake` is the registration that may get calls once this is on its way."""

    code: int
    options: tuple[tuple[int, bytes], ...] = ()
    payload: bytes = b""
    awake: Registration | None = None


class Registrar:
    """Keeps the registrations of one hub. `moved` is told of every one that is no longer where it was."""

    def __init__(
        self, ctx: AdapterContext, crew: Crew, registry: Registry, reach: Reach, settings: LwM2MSettings,
        moved: Callable[[Registration], None],
    ) -> None:
        self._reach = reach
        self._moved = moved
        self._ctx = ctx
        self._crew = crew
        self._registry = registry
        self._settings = settings
        self._queues = Queues()
        # Whoever proves who he is has a budget of his own: nobody can use it up by his name.
        self._claimed, self._proved = (
            Throttle(
                settings.registrations_per_second, settings.registration_burst, settings.registrations_per_device
            )
            for _ in range(2)
        )
        self.expiries: Wheel[Registration] = Wheel(ctx.clock, self._expiry)
        # Which message ids were used of late, by device, and by place where devices share theirs.
        self._used: Generations[str | Peer, Mids] = Generations(EXCHANGE_LIFETIME, MOST_DEPARTED)
        self.refused = 0

    def stop(self) -> None:
        """Let nobody expire any more."""
        self.expiries.stop()

    def knows(self, peer: Peer) -> bool:
        """Whether a registered device is there."""
        return self._registry.from_peer(peer) is not None

    # -- /rd ------------------------------------------------------------------------------------

    async def register(
        self, query: list[tuple[str, str]], body: bytes, peer: Peer, identity: str | None
    ) -> Reply:
        """A device comes, or comes again."""
        try:
            said = announced(query, body, identity)
        except OtherVersion as error:
            return Reply(codec.PRECONDITION_FAILED, payload=str(error).encode())
        except Senseless as error:
            return Reply(codec.BAD_REQUEST, payload=str(error).encode())
        throttle, who = (self._claimed, said.name) if identity is None else (self._proved, identity)
        wait = throttle.wait(who, self._ctx.clock.monotonic())
        if wait:
            self.refused += 1
            code = codec.TOO_MANY_REQUESTS if throttle.blames(who) else codec.SERVICE_UNAVAILABLE
            return Reply(code, ((MAX_AGE, uint(int(wait) + 1)),))
        admission = await self._admit(said.name, identity)
        if admission is None:
            self.refused += 1
            return Reply(codec.FORBIDDEN)
        async with self._queues.of(admission.address):
            return await self._registered(said, peer, identity, admission)

    async def _registered(self, said: Announced, peer: Peer, identity: str | None, admission: Admission) -> Reply:
        older = self._registry.at(admission.address)
        if older is None and len(self._registry) >= self._settings.devices:
            return Reply(codec.SERVICE_UNAVAILABLE, ((MAX_AGE, uint(60)),))
        if older is not None and older.identity is not None and identity is None:
            # Whoever proved who he is cannot be pushed out by somebody who only says so.
            self.refused += 1
            return Reply(codec.FORBIDDEN)
        clock = self._ctx.clock
        registration = Registration(
            said.name, admission.address, self._registry.new_location(), peer, identity, self._settings.inflight,
            clock.now(),
        )
        registration.version = said.version
        registration.heard = clock.monotonic()
        expires = registration.heard + said.lifetime + grace(said.lifetime)
        registration.terms = Terms(expires, said.lifetime, said.queue, said.offer.root)
        attrs = self._attrs(registration) | {
            "links": said.offer.resources, "type": said.type, "name": said.name,
            "id": admission.device_id, "boot": registration.location,
        }
        # In place before the hub hears of it, because the hub acts on it at once; held until the device knows.
        registration.held = True
        stays = older is not None and older.peer == peer
        active: Mapping[str, bool] = {}
        back: Registration | None = None
        if older is not None:
            active = {target: observed.active for target, observed in older.observations.items()}
            if stays:
                registration.slots = older.slots  # it is still asked what it was asked
        self._forget(older, moved=not stays)
        there = self._used.get(peer) if self._settings.shared_address else None
        registration.mids = there or self._used.pop(registration.address) or registration.mids
        taken = False
        try:
            self._registry.add(registration)
            await self._ctx.accept(
                DeviceEvent(EventKind.REGISTERED, registration.address, registration.heard, attrs=attrs)
            )
            taken = True
        except (UnknownDevice, NotTaken):
            # The hub will not have it: nobody declared it, its name is that of another device or can be no id.
            self.refused += 1
            return Reply(codec.FORBIDDEN)
        except HubError as error:
            log.warning("a registration could not be taken: %s", error)
            back = older if registration.alive else None
            return Reply(codec.SERVICE_UNAVAILABLE, ((MAX_AGE, uint(30)),))
        finally:
            if not taken:
                self._forget(registration, moved=back is None or not stays)
                if back is not None:
                    self._put_back(back, active)
        if registration.displaced:
            self._reach.keep(registration)
        self.watch(registration)
        location: Options = [(LOCATION_PATH, b"rd"), (LOCATION_PATH, registration.location.encode())]
        return Reply(codec.CREATED, tuple(location), awake=registration)

    def _put_back(self, registration: Registration, active: Mapping[str, bool]) -> None:
        """The registration that was to be replaced goes on, because the hub could not take in the new one."""
        registration.revive(active)
        there = self._registry.from_peer(registration.peer)
        registration.displaced = registration.displaced or (there is not None and not self._settings.shared_address)
        self._registry.add(registration)
        self.watch(registration)
        if registration.displaced:
            self._reach.taken_over(registration)

    async def update(
        self, location: str, query: list[tuple[str, str]], body: bytes, peer: Peer, identity: str | None
    ) -> Reply:
        """A device says that it is still there, perhaps elsewhere or with something new."""
        registration = self._registry.located(location)
        if registration is None or registration.identity != identity:
            return Reply(codec.NOT_FOUND)
        try:
            said = renewed(query, body)
        except Senseless as error:
            return Reply(codec.BAD_REQUEST, payload=str(error).encode())
        async with self._queues.of(registration.address):
            if not registration.alive:
                return Reply(codec.NOT_FOUND)
            now = registration.heard = self._ctx.clock.monotonic()
            if registration.peer != peer:
                # The location is a secret of the device: whoever knows it says where it is.
                self._reach.relocate(registration, peer)
            elif self._registry.from_peer(peer) is not registration:
                self._registry.move(registration, peer)  # back from where another one was meanwhile
            before, taken = registration.terms, False
            registration.held = True
            try:
                registration.terms = before.renewed(said, now)
                attrs = self._attrs(registration) | ({} if said.offer is None else {"links": said.offer.resources})
                await self._ctx.accept(DeviceEvent(EventKind.UPDATED, registration.address, now, attrs=attrs))
                taken = True
            except UnknownDevice:
                self._forget(registration, moved=True)
                return Reply(codec.NOT_FOUND)
            except HubError as error:
                log.warning("an update could not be taken: %s", error)
                return Reply(codec.SERVICE_UNAVAILABLE, ((MAX_AGE, uint(30)),))
            finally:
                if not taken:
                    registration.terms, registration.held = before, False
                    registration.slots.wake()
            self.watch(registration)
            if registration.displaced:
                self._reach.keep(registration)
            return Reply(codec.CHANGED, awake=registration)

    async def deregister(self, location: str, identity: str | None) -> Reply:
        """A device goes."""
        registration = self._registry.located(location)
        if registration is None or registration.identity != identity:
            return Reply(codec.NOT_FOUND)
        async with self._queues.of(registration.address):
            if not registration.alive:
                return Reply(codec.NOT_FOUND)
            now = self._ctx.clock.monotonic()
            try:
                await self._ctx.accept(DeviceEvent(EventKind.DEREGISTERED, registration.address, now))
            except UnknownDevice:
                pass  # the hub had forgotten it before
            except HubError as error:
                log.warning("a deregistration could not be taken: %s", error)
                return Reply(codec.SERVICE_UNAVAILABLE, ((MAX_AGE, uint(30)),))
            self._forget(registration, moved=True)
            return Reply(codec.DELETED)

    def expel(self, address: str) -> None:
        """Forget a device that the hub does not have any more; what it says next is answered 4.04, so it registers."""
        self._forget(self._registry.at(address), moved=True)

    def _forget(self, registration: Registration | None, *, moved: bool) -> None:
        if registration is None or not self._registry.remove(registration):
            return
        self.expiries.discard(registration.expiry, registration)
        self._reach.forget(registration)
        now = self._ctx.clock.monotonic()
        self._used.put(registration.address, registration.mids, now)
        if self._settings.shared_address:
            self._used.put(registration.peer, registration.mids, now)
        if moved:
            self._moved(registration)

    def _attrs(self, registration: Registration) -> dict[str, object]:
        return {
            # The hub's own clock for it runs to the same moment as ours.
            "lifetime": registration.lifetime + grace(registration.lifetime),
            "queue_mode": registration.queue,
            "location": f"/rd/{registration.location}",
            "memory": remembered(registration, self._ctx.clock),
            "proved": registration.identity is not None,
        }

    async def _admit(self, name: str, identity: str | None) -> Admission | None:
        verdict: Admission | AdmissionRefused
        if identity is not None:
            verdict = await self._ctx.admit("psk", identity, None)
            if isinstance(verdict, Admission) and name not in (identity, verdict.device_id, verdict.name):
                verdict = AdmissionRefused("the endpoint name is another one's")
        else:
            verdict = await self._ctx.admit("open" if self._settings.open else "name", name, None)
        return verdict if isinstance(verdict, Admission) else None

    # -- time -----------------------------------------------------------------------------------

    def watch(self, registration: Registration) -> None:
        """Have a registration expire, and sleep, when its time comes."""
        self.expiries.discard(registration.expiry, registration)
        registration.expiry = self.expiries.add(registration.expires, registration)
        self._reach.watch(registration)

    def _expiry(self, registration: Registration) -> None:
        self._crew.spawn(self._expire(registration), "expire")

    async def _expire(self, registration: Registration) -> None:
        async with self._queues.of(registration.address):
            now = self._ctx.clock.monotonic()
            if not registration.alive or registration.expires > now:
                return  # it was updated meanwhile
            try:
                await self._ctx.accept(DeviceEvent(EventKind.EXPIRED, registration.address, now))
            except UnknownDevice:
                pass  # the hub had forgotten it before
            except HubError as error:
                log.warning("an expiry could not be told, trying again: %s", error)
                registration.expiry = self.expiries.add(now + 10, registration)
                return
            self._forget(registration, moved=True)
