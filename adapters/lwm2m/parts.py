"""The parts of the adapter from start to stop, each made of those before it."""

from __future__ import annotations

import logging
import random

from adapters.lwm2m.crew import Crew
from adapters.lwm2m.doors import Doors
from adapters.lwm2m.endpoint import Endpoint
from adapters.lwm2m.exchange import Exchanges, Peer
from adapters.lwm2m.formats import Formats
from adapters.lwm2m.inbound import Inbound
from adapters.lwm2m.memory import recalled
from adapters.lwm2m.notifications import Notifications
from adapters.lwm2m.observing import Observing
from adapters.lwm2m.registrar import Registrar
from adapters.lwm2m.registration import Registration
from adapters.lwm2m.registry import Registry
from adapters.lwm2m.sends import Sends
from adapters.lwm2m.server import Server
from adapters.lwm2m.settings import LwM2MSettings
from adapters.lwm2m.transfer import Transfers
from hub.ports.abilities import Remembers
from hub.ports.adapter import AdapterContext, Delivery, NotConnected

log = logging.getLogger("hub.adapter.lwm2m")


class Parts:
    """Everything that one start makes and the next stop ends."""

    def __init__(self, ctx: AdapterContext, settings: LwM2MSettings, endpoint: Endpoint) -> None:
        self.clock = ctx.clock
        self._ctx = ctx
        self._settings = settings
        self.doors = Doors(ctx, settings, endpoint, self._lost)
        self.crew = Crew(ctx)
        self.registry = Registry()
        self.exchanges = Exchanges(ctx.clock, self.doors.send, random.random)
        self.transfers = Transfers(ctx.clock, self.exchanges, settings.max_payload)
        self.formats = Formats(ctx.clock, self.transfers)
        self.observing = Observing(ctx, self.crew, self.registry, self.exchanges, self.transfers)
        self.registrar = Registrar(ctx, self.crew, self.registry, settings, self._moved)
        self.notifications = Notifications(
            ctx, self.crew, self.registry, self.observing.read_rest, self.observing.ended, settings.follow_address
        )
        server = Server(ctx.clock, self.registrar, Sends(ctx, self.registry), settings.max_payload)
        self.inbound = Inbound(
            ctx, self.crew, self.registry, self.registrar, self.exchanges, self.notifications, server,
            self.doors.send, self.doors.identity,
        )

    def recall(self) -> None:
        """The registrations that the hub kept through a restart, with their observations. No event is told of them."""
        if not isinstance(self._ctx, Remembers):
            return
        for address, memory in self._ctx.memories().items():
            try:
                registration = recalled(address, memory, self.clock, self._settings.inflight, self.observing.stop)
            except ValueError as error:
                log.warning("what was remembered of a device is of no use: %s", error)
                continue
            self.registry.add(registration)
            self.registrar.watch(registration)

    async def stop(self) -> None:
        """End every task and timer."""
        self.registrar.stop()
        for registration in self.registry:
            registration.end()
        await self.crew.stop()
        self.registry.clear()

    def _moved(self, registration: Registration) -> None:
        """Nothing comes any more from where the device was: its open call has no answer to wait for."""
        self.exchanges.fail(
            lambda: NotConnected("the device went away", delivery=Delivery.MAYBE), registration.address
        )

    def _lost(self, peer: Peer) -> None:
        """A session is over. The device has to come back by itself, as it would from sleep."""
        registration = self.registry.from_peer(peer)
        if registration is not None:
            self._moved(registration)
            self.registrar.unreachable(registration)
