"""Sessions of EnOS devices at a plain broker, prepared for them: their SDK listens to nothing by itself.

The hub comes once under the device's client id, listens to each command topic by its exact name, and leaves; the broker
keeps that for the device, which has to come with clean session off. A device that is there now is sent away by this,
and comes back.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from gmqtt.mqtt.handler import MQTTConnectError

from adapters.mqtt import topics
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
        self.missing = set(clients)

    async def run(
        self, place: Place, clock: Clock, ready: Callable[[], Awaitable[object]],
        services: Callable[[str], Mapping[str, object] | None],
    ) -> None:  # fmt: skip
        """Prepare each once, whenever the broker is there; `services` are those that a device's product declares."""
        while self.missing:
            await ready()
            for address in sorted(self.missing):
                try:
                    await prepare(place, clock, self._clients[address], address, sorted(services(address) or ()))
                    self.missing.discard(address)
                except (OSError, MQTTConnectError) as error:
                    log.warning("the session of %s could not be prepared: %s", address, error)
            if self.missing:
                await clock.sleep_until(clock.monotonic() + PAUSE)


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
