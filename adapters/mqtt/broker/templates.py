"""Devices of MQTT 3.1.1 by templates: which topics and which JSON members carry request, answer and id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from adapters.mqtt import wire
from adapters.mqtt.broker.client import Message
from adapters.mqtt.broker.filter import Filter
from adapters.mqtt.broker.pattern import DEVICE, is_level
from adapters.mqtt.broker.tables import Template
from adapters.mqtt.broker.value import member, payload_of, value_of
from adapters.mqtt.broker.way import Answer, Sending
from hub.ports.adapter import BadRequest, Delivery, DeviceRequest, DeviceResponse

METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "PATCH", "FETCH", "IPATCH", "INVOKE"})


class Templates:
    """One template for all devices. `hub` is the hub's lasting name if it has one: others hear the same answers."""

    methods = METHODS
    idempotent = frozenset({"GET", "PUT", "DELETE"})

    def __init__(self, template: Template, hub: str) -> None:
        self.hub = hub
        self._template = template

    def filters(self) -> Sequence[Filter]:
        """The answers of all devices; the settings have made sure that no request is among them."""
        return [Filter(self._template.reply.filter)]

    def adopts(self, topic: str) -> bool:
        """None: there is but one."""
        return False

    def sending(self, req: DeviceRequest, deadline: int) -> Sending:
        """The request in the template's words."""
        template = self._template
        id = wire.message_id(req.call_id, req.device, "", self.hub)
        target = req.target.strip("/")
        if req.query or any(mark in target for mark in "+#"):
            raise BadRequest("a target has no query, plus or number sign here", delivery=Delivery.NOT_SENT)
        if "target" in template.request.names:
            if not target:
                raise BadRequest("the target is empty", delivery=Delivery.NOT_SENT)
            if template.request.rest != "target" and not is_level(target):
                raise BadRequest("a target is one level of a topic here", delivery=Delivery.NOT_SENT)
        places: dict[str, Any] = {
            "id": id, "method": req.method, "target": req.target, "type": req.content_type, "deadline": deadline,
        }  # fmt: skip
        if template.body:
            body = _filled(template.body, {**places, "payload": value_of(req)})
        else:
            body = value_of(req) if req.args is not None else None
        try:
            payload = req.payload if body is None else orjson.dumps(body)
        except TypeError:
            raise BadRequest("the arguments cannot be written as JSON", delivery=Delivery.NOT_SENT) from None
        topic = template.request.fill(
            **{DEVICE: req.device, "id": id, "method": req.method, "target": target, "deadline": str(deadline)}
        )
        return Sending(id, "", topic, payload)

    def answer(self, message: Message) -> Answer | None:
        """An answer names its device by its topic, and its call there or in its body."""
        places = self._template.reply.read(message.topic)
        if places is None:
            return None
        body = wire.object_of(message.payload) if self._reads else None
        id = places.get("id") if not self._template.id else member(body, self._template.id)
        return Answer(id if isinstance(id, str) else "", places[DEVICE], "", (body, message.payload))

    @property
    def _reads(self) -> bool:
        template = self._template
        return bool(template.id or template.status or template.result)

    def response(self, answer: Answer, said: Any) -> DeviceResponse:
        """The members that the template names."""
        template = self._template
        body, payload = answer.body
        native: dict[str, Any] = {"message_id": answer.id}
        if self._reads and body is None:
            return DeviceResponse(502, b"the answer is no JSON object", "text/plain", native={"error": "BAD_ANSWER"})
        status = 200
        if template.status:
            code = wire.code_of(member(body, template.status))
            if code is None or not (code == 0 or 200 <= code <= 599):
                wrong = {**native, "error": "BAD_ANSWER"}
                return DeviceResponse(502, b"the status is none", "text/plain", native=wrong)
            native["status"] = code
            status = code or 200
        if template.result:
            payload, kind = payload_of(member(body, template.result))
        else:
            kind = wire.JSON if body is not None else None
        return DeviceResponse(status, payload, kind, native=native)


def _filled(body: Any, places: Mapping[str, Any]) -> Any:
    if isinstance(body, Mapping):
        return {name: _filled(value, places) for name, value in body.items()}
    if isinstance(body, list):
        return [_filled(value, places) for value in body]
    if isinstance(body, str) and body[:1] == "{" and body[-1:] == "}":
        return places[body[1:-1]]
    return body
