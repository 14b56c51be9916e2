"""Which devices can be reached: asleep or awake, and whether somebody else is where they were."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio.lowlevel

from adapters.lwm2m.crew import Crew
from adapters.lwm2m.exchange import Peer
from adapters.lwm2m.memory import remember
from adapters.lwm2m.registration import Registration
from adapters.lwm2m.registry import Registry
from adapters.lwm2m.wheel import Wheel
from hub.model.errors import HubError
from hub.ports.adapter import AdapterContext, DeviceEvent, EventKind

AT_ONCE = 100

log = logging.getLogger("hub.adapter.lwm2m")


class Reach:
    """Keeps `asleep` and `displaced` of the registrations. `moved` is told of every one that is no longer where it
    was; `asleep_after` is in seconds."""

    def __init__(
        self, ctx: AdapterContext, crew: Crew, registry: Registry, asleep_after: float,
        moved: Callable[[Registration], None],
    ) -> None:
        self._ctx = ctx
        self._crew = crew
        self._registry = registry
        self._asleep_after = asleep_after
        self._moved = moved
        self.naps: Wheel[Registration] = Wheel(ctx.clock, self._nap)

    def stop(self) -> None:
        """Let nobody fall asleep any more."""
        self.naps.stop()

    # -- where they are -------------------------------------------------------------------------

    def relocate(self, registration: Registration, peer: Peer) -> None:
        """The device is somewhere else now: where it was, nobody answers what was asked there."""
        self._moved(registration)
        self._registry.move(registration, peer)

    def taken_over(self, registration: Registration) -> None:
        """Another device is heard from its place: nothing is sent there for this one until it says where it is."""
        self._moved(registration)
        self.unreachable(registration)
        self.keep(registration)

    def keep(self, registration: Registration) -> None:
        """Have it known after a restart that it lost its place."""
        self._crew.spawn(remember(self._ctx, registration), "remember")

    async def tell_asleep(self) -> None:
        """After a start: tell the hub, which believes what was true before it, of those who cannot be reached."""
        for number, registration in enumerate(self._registry):
            if registration.asleep and registration.alive:
                try:
                    await self._ctx.accept(
                        DeviceEvent(EventKind.ASLEEP, registration.address, self._ctx.clock.monotonic())
                    )
                except HubError as error:
                    log.info("a device that sleeps could not be told of: %s", error)
                now = self._registry.at(registration.address)
                if now is not None and not now.asleep:
                    # It was heard from while this was told: the hub is told so after it.
                    self._ctx.emit(DeviceEvent(EventKind.AWAKE, now.address, self._ctx.clock.monotonic()))
            if number % AT_ONCE == AT_ONCE - 1:
                await anyio.lowlevel.checkpoint()

    # -- sleep ---------------------------------------------------------------------------------

    def watch(self, registration: Registration) -> None:
        """Have it fall asleep when it was silent for so long, if it is one that does."""
        self.naps.discard(registration.nap, registration)
        if registration.queue and not registration.asleep:
            due = registration.heard + self._asleep_after
            registration.nap = self.naps.add(due, registration)

    def forget(self, registration: Registration) -> None:
        """It is over, and does not fall asleep."""
        self.naps.discard(registration.nap, registration)

    def _nap(self, registration: Registration) -> None:
        # Not every message moves the place in the wheel; one look per nap does.
        if registration.heard + self._asleep_after > self._ctx.clock.monotonic():
            self.watch(registration)
        else:
            self.fell_asleep(registration)

    def fell_asleep(self, registration: Registration) -> None:
        """A device in queue mode does not listen any more, until it says something."""
        if registration.queue:
            self.unreachable(registration)

    def unanswered(self, registration: Registration, asked: float) -> None:
        """What the device was asked at `asked` stayed unanswered: so it sleeps, if it has said nothing since."""
        if registration.heard <= asked:
            self.fell_asleep(registration)

    def unreachable(self, registration: Registration) -> None:
        """Nothing can be sent to the device until it says something."""
        if registration.alive and (registration.held or not registration.asleep):
            # What the hub takes in just now says that it is awake.
            registration.asleep = True
            self._ctx.emit(DeviceEvent(EventKind.ASLEEP, registration.address, self._ctx.clock.monotonic()))
            registration.slots.wake_all()  # nobody waits for what will not come

    def heard(self, registration: Registration) -> None:
        """A message came from the device."""
        registration.heard = self._ctx.clock.monotonic()
        if registration.asleep and not registration.held:
            self.awake(registration)

    def awake(self, registration: Registration) -> None:
        """The device listens: from now on, or it does so again; unless another one is heard from where it was."""
        if registration.displaced:
            # It lost its place while the hub took in what it said.
            registration.held = False
            registration.slots.wake_all()
            return
        slept, asked = registration.asleep, registration.asked
        registration.held = registration.asleep = registration.asked = False
        if not registration.alive:
            return
        if slept:
            self.watch(registration)
        if slept or asked:
            self._ctx.emit(DeviceEvent(EventKind.AWAKE, registration.address, self._ctx.clock.monotonic()))
        registration.slots.wake()
