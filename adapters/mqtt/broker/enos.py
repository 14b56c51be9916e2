"""EnOS devices behind a plain broker: the same topics and bodies as on the hub's own listener.

With MQTT 5 the answers of all services are listened to, without the hub's own commands; with 3.1.1 only exact services,
from their first call on, since a wildcard would bring every command back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.mqtt import topics, wire
from adapters.mqtt.broker.client import Message
from adapters.mqtt.broker.filter import Filter
from adapters.mqtt.broker.way import Answer, Sending
from hub.ports.adapter import BadRequest, Delivery, DeviceRequest, DeviceResponse

_SERVICES = "/sys/+/+/thing/service/"


class Enos:
    """An address is `<product key>/<device key>`. `hub` is the hub's lasting name if it has one: others hear the same
    answers."""

    methods = wire.METHODS
    idempotent = frozenset({"GET", "PUT"})

    def __init__(self, version: int, hub: str) -> None:
        self.hub = hub
        self._exact = version != 5

    def filters(self) -> Sequence[Filter]:
        """Where answers come: points, and with MQTT 5 every service."""
        points = [Filter(f"/sys/+/+/{purpose}{topics.REPLY}") for purpose in (topics.GET, topics.SET)]
        return points if self._exact else [*points, Filter(f"{_SERVICES}+", own=False)]

    def adopts(self, topic: str) -> bool:
        """A service's."""
        service = topic.removeprefix(_SERVICES).removesuffix(topics.REPLY)
        return self._exact and topic == f"{_SERVICES}{service}{topics.REPLY}" and topics.is_service(service)

    def sending(self, req: DeviceRequest, deadline: int) -> Sending:
        """The command of a call; there is no word for its deadline."""
        command = wire.command(req)
        product, _, device = req.device.partition("/")
        id = wire.message_id(req.call_id, req.device, command.purpose, self.hub)
        try:
            body = wire.request(id, command.purpose, command.params)
        except TypeError:
            raise BadRequest("the arguments cannot be written as JSON", delivery=Delivery.NOT_SENT) from None
        service = None if command.purpose in (topics.GET, topics.SET) else command.purpose.rpartition("/")[2]
        exact = self._exact and service is not None
        needs = Filter(f"/sys/+/+/{command.purpose}{topics.REPLY}") if exact else None
        topic = topics.command((product, device), command.purpose)
        return Sending(id, command.purpose, topic, body, needs=needs, service=service, said=command)

    def answer(self, message: Message) -> Answer | None:
        """An answer comes on the topic of its command, with `_reply` behind it."""
        topic = topics.parse(message.topic)
        if topic is None or topic.session or not topic.purpose.startswith("thing/service/"):
            return None
        body = wire.object_of(message.payload)
        id = None if body is None else body.get("id")
        if not topic.reply or not isinstance(id, str):
            return Answer("", "", "", None)  # a command of another hub, or an answer that names nothing
        return Answer(id, "/".join(topic.device), topic.purpose, body)

    def response(self, answer: Answer, said: Any) -> DeviceResponse:
        """As on the hub's own listener."""
        command = said if isinstance(said, wire.Command) else wire.asked(answer.purpose, answer.body)
        return wire.response(command, answer.body)
