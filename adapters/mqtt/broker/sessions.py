"""Sessions of EnOS devices at a plain broker, prepared for them: their SDK listens to nothing by itself.

The hub comes once under the device's client id, listens to each command topic by its exact name, and leaves; the broker
keeps that for the device, which has to come with clean session off. A device that is there now is sent away by this,
and comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adapters.mqtt import topics
from adapters.mqtt.broker.link import Filter, Link
from adapters.mqtt.broker.place import Place
from hub.ports.clock import Clock


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
