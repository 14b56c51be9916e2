"""Sessions of EnOS devices at a plain broker, prepared for them: their SDK listens to nothing by itself.

The hub comes under the device's client id, listens to each command topic by its exact name, and leaves; the broker
keeps that for the device, which has to come with clean session off. A device that is there now is sent away by this,
and comes back: so it is done once, and again only where the broker may have forgotten it or there is more to listen to.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from gmqtt.mqtt.handler import MQTTConnectError

from adapters.mqtt import topics
from adapters.mqtt.broker.bell import Bell
from adapters.mqtt.broker.filter import Filter
from adapters.mqtt.broker.link import Link
from adapters.mqtt.broker.place import Place
from hub.ports.clock import Clock

PAUSE = 30.0

log = logging.getLogger("hub.adapter.mqtt-broker")


class Sessions:
    """The sessions to prepare, client ids by device; `missing` are those that are not prepared yet."""

    def __init__(self, clients: Mapping[str, str]) -> None:
        self._clients = clients
        self._prepared: dict[str, list[str]] = {}  # for which services
        self._news: Bell | None = None
        self._forgotten = False  # while they were being prepared
        self.missing = set(clients)

    def met(self, resumed: bool) -> None:
        """The hub is at the broker: if that has not kept the hub's own session, it may have forgotten all of them."""
        if not resumed:
            self.missing.update(self._clients)
            self._forgotten = True
            if self._news is not None:
                self._news.ring()

    async def run(
        self, place: Place, clock: Clock, ready: Callable[[], Awaitable[object]],
        services: Callable[[str], Mapping[str, object] | None],
    ) -> None:  # fmt: skip
        """Prepare what is missing, whenever the broker is there; `services` are those that a product declares, by a
        device of it."""
        news = self._news = Bell(clock)
        while True:
            await ready()
            self._forgotten = False
            for address in sorted(self.missing):
                if self._forgotten:
                    break
                wanted = sorted(services(address) or ())
                try:
                    await prepare(place, clock, self._clients[address], address, wanted)
                    self._prepared[address] = wanted
                    if not self._forgotten:
                        self.missing.discard(address)
                except (OSError, MQTTConnectError) as error:
                    log.warning("the session of %s could not be prepared: %s", address, error)
            if self._forgotten:
                continue
            await news.rung(clock.monotonic() + PAUSE)
            for address, those in self._prepared.items():
                if set(services(address) or ()) - set(those):
                    self.missing.add(address)


def command_topics(address: str, services: Sequence[str]) -> list[str]:
    """The exact topics of a device's commands: with a wildcard it would take its own answers for commands."""
    product, _, device = address.partition("/")
    purposes = [topics.GET, topics.SET, *(topics.service(id) for id in services if topics.is_service(id))]
    return [topics.command((product, device), purpose) for purpose in purposes]


async def prepare(place: Place, clock: Clock, client_id: str, address: str, services: Sequence[str]) -> None:
    """Prepare the session of one device. Raises ConnectionError and other OSErrors."""
    filters = [Filter(topic) for topic in command_topics(address, services)]
    link = Link(
        replace(place, version=4), clock, client_id, filters=filters, echo="", hear=lambda _: None,
        changed=lambda: None, session=1,
    )  # fmt: skip
    await link.once()
