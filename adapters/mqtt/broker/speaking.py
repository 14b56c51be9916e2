"""Which way of speaking the settings name."""

from __future__ import annotations

from adapters.mqtt.broker.enos import Enos
from adapters.mqtt.broker.mqtt5 import Mqtt5
from adapters.mqtt.broker.settings import BrokerSettings
from adapters.mqtt.broker.templates import Templates
from adapters.mqtt.broker.way import Way


def way_of(settings: BrokerSettings, replies: str) -> Way:
    """The way of speaking; `replies` is the hub's own topic."""
    if settings.speak == "mqtt5":
        return Mqtt5(settings.request, replies, settings.client_id)
    if settings.template is not None:
        return Templates(settings.template, settings.client_id)
    return Enos(settings.version, settings.client_id)
