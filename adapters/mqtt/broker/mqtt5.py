"""Request and response of MQTT 5: all answers come to a topic of the hub's own, with their call in the correlation.

The correlation names the call and its device with a digest of both, so that an answer is understood after a restart of
the hub. A call's id is known to its caller and its device alone: no other device can answer in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from adapters.mqtt import wire
from adapters.mqtt.broker.client import Message
from adapters.mqtt.broker.filter import Filter
from adapters.mqtt.broker.pattern import DEVICE, Pattern
from adapters.mqtt.broker.way import Answer, Sending
from hub.ports.adapter import BadRequest, Delivery, DeviceRequest, DeviceResponse

METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "PATCH", "FETCH", "IPATCH", "INVOKE"})
METHOD, TARGET, QUERY, ACCEPT, DEADLINE, STATUS = "method", "target", "query", "accept", "deadline", "status"
"""Names of the user properties."""


class Mqtt5:
    """`replies` is the hub's own topic, `hub` its lasting name if it has one."""

    methods = METHODS
    idempotent = frozenset({"GET", "PUT", "DELETE"})

    def __init__(self, request: Pattern, replies: str, hub: str) -> None:
        self.hub = hub
        self._request = request
        self._replies = replies

    def filters(self) -> Sequence[Filter]:
        """The hub's own topic and no other."""
        return [Filter(self._replies)]

    def adopts(self, topic: str) -> bool:
        """None: there is but one."""
        return False

    def sending(self, req: DeviceRequest, deadline: int) -> Sending:
        """A request with its method, target and deadline as user properties, its payload as it is."""
        id = wire.message_id(req.call_id, req.device, "", self.hub)
        said = [(METHOD, req.method), (TARGET, req.target), (DEADLINE, str(deadline))]
        if req.query:
            said.append((QUERY, "&".join(f"{name}={value}" if value else name for name, value in req.query)))
        if req.accept is not None:
            said.append((ACCEPT, req.accept))
        payload, content_type = req.payload, req.content_type
        if req.args is not None:
            payload, content_type = _json(req.args), wire.JSON
        properties: dict[str, Any] = {
            "response_topic": self._replies, "correlation_data": f"{id} {req.device}".encode(), "user_property": said,
        }  # fmt: skip
        if content_type is not None:
            properties["content_type"] = content_type
        return Sending(id, "", self._request.fill(**{DEVICE: req.device}), payload, properties)

    def answer(self, message: Message) -> Answer | None:
        """An answer is what comes to the hub's own topic, with a correlation."""
        if message.topic != self._replies:
            return None
        correlation = message.one("correlation_data")
        try:
            id, _, device = bytes(correlation or b"").decode().partition(" ")
        except UnicodeDecodeError:
            id = device = ""
        return Answer(id, device, "", message)

    def response(self, answer: Answer, said: Any) -> DeviceResponse:
        """The payload as it is; the status is a user property, 200 without one."""
        message: Message = answer.body
        text = message.said(STATUS)
        native: dict[str, Any] = {"correlation": answer.id}
        status = 200
        if text is not None:
            if not (text.isascii() and text.isdigit() and len(text) == 3 and text[0] in "245"):
                native |= {"error": "BAD_ANSWER"}
                return DeviceResponse(502, b"the status is none", "text/plain", native=native)
            status = int(text)
        kind = message.one("content_type")
        return DeviceResponse(status, message.payload, kind, native={**native, STATUS: status})


def _json(args: Any) -> bytes:
    try:
        return orjson.dumps(dict(args))
    except TypeError:
        raise BadRequest("the arguments cannot be written as JSON", delivery=Delivery.NOT_SENT) from None
