"""The parts of the adapter from start to stop, each made of those before it."""

from __future__ import annotations

import logging
import random

from adapters.lwm2m.announced import grace
from adapters.lwm2m.crew import Crew
from adapters.lwm2m.doors import Doors
from adapters.lwm2m.endpoint import Endpoint
from adapters.lwm2m.exchange import Exchanges, Peer
from adapters.lwm2m.formats import Formats
from adapters.lwm2m.inbound import Inbound
from adapters.lwm2m.memory import recalled
from adapters.lwm2m.notifications import Notifications
from adapters.lwm2m.observing import Observing
from adapters.lwm2m.reach import Reach
from adapters.lwm2m.registrar import Registrar
from adapters.lwm2m.registration import Registration
from adapters.lwm2m.registry import Registry
from adapters.lwm2m.room import Room
from adapters.lwm2m.sends import Sends
from adapters.lwm2m.server import Server
from adapters.lwm2m.settings import LwM2MSettings
from adapters.lwm2m.share import FairShare
from adapters.lwm2m.transfer import Transfers
from hub.ports.abilities import Remembers
from hub.ports.adapter import AdapterContext, NotConnected

log = logging.getLogger("hub.adapter.lwm2m")


class Parts:
    """Everything that one start makes and the next stop ends."""

    def __init__(self, ctx: AdapterContext, settings: LwM2MSettings, endpoint: Endpoint) -> None:
        self.clock = ctx.clock
        self._ctx = ctx
        self._settings = settings
        self.doors = Doors(ctx, settings, endpoint, self._lost)
        self.crew, asked, told = Crew(ctx), Crew(ctx), Crew(ctx)
        self._crews = (asked, told, self.crew)  # the first two have things done by the last
        self.registry = Registry(self._taken_over, shared=settings.shared_address)
        self.room = Room(ctx.clock, settings.total, self._has_room)
        self.exchanges = Exchanges(ctx.clock, self.doors.send, random.random)
        self.transfers = Transfers(ctx.clock, self.exchanges, settings.max_payload)
        self.formats = Formats(ctx.clock, self.transfers)
        # A tenth, and not of the calls' places: when thousands come back at once, so do all their observations.
        share = FairShare(ctx.clock, max(1, settings.total // 10), settings.inflight)
        self.reach = Reach(ctx, self.crew, self.registry, settings.asleep_after.total_seconds(), self._moved)
        self.observing = Observing(ctx, self.crew, self.registry, self.transfers, share, self.reach.unanswered)
        self.registrar = Registrar(ctx, self.crew, self.registry, self.reach, settings, self._moved)
        self.notifications = Notifications(
            ctx, self.crew, self.observing.read_rest, self.registry, self.observing.ended, self.reach.relocate,
            settings.follow_address,
        )
        server = Server(ctx.clock, self.registrar, Sends(ctx, self.registry), settings.max_payload)
        self.inbound = Inbound(
            ctx, asked, told, self.registry, self.reach, self.exchanges, self.notifications, server,
            self.doors.send, self.doors.identity,
        )

    def recall(self) -> None:
        """The registrations that the hub kept through a restart, with their observations. The hub is told of none but
        those that cannot be reached now."""
        if not isinstance(self._ctx, Remembers):
            return
        known: list[Registration] = []
        for address, memory in self._ctx.memories().items():
            try:
                registration = recalled(address, memory, self.clock, self._settings.inflight, self.observing.stop)
            except ValueError as error:
                log.warning("what was remembered of a device is of no use: %s", error)
                continue
            known.append(registration)
        # In the order in which they were last there: a place that two had is the later one's.
        for registration in sorted(known, key=lambda one: one.expires - one.lifetime - grace(one.lifetime)):
            self.registry.add(registration)
            self.registrar.watch(registration)
        if known:
            self.crew.spawn(self.reach.tell_asleep(), "asleep after the start")

    async def stop(self) -> None:
        """End every task and timer."""
        self.registrar.stop()
        self.reach.stop()
        for registration in self.registry:
            registration.end()
        self.room.stop()
        for crew in self._crews:
            await crew.stop()
        self.registry.clear()

    def _taken_over(self, registration: Registration) -> None:
        self.reach.taken_over(registration)

    def _has_room(self, device: str) -> bool:
        """There is room for a call to a device that was refused one; False if the hub could not be told so."""
        registration = self.registry.at(device)
        if registration is None or registration.asleep:
            return True  # its next word has the hub look
        if registration.free <= 0:
            registration.asked = True
            return True
        return self.observing.woken(registration)

    def _moved(self, registration: Registration) -> None:
        """Nothing comes any more from where the device was: its open call has no answer to wait for."""
        self.exchanges.fail(
            lambda delivery: NotConnected("the device went away", delivery=delivery), registration.address
        )

    def _lost(self, peer: Peer) -> None:
        """A session is over. The device has to come back by itself, as it would from sleep."""
        registration = self.registry.from_peer(peer)
        if registration is not None:
            self._moved(registration)
            self.reach.unreachable(registration)
