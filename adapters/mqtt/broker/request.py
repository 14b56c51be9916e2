"""What a call has to be to become a message: what nobody could send, or what a broker ends the connection of all calls
for, is refused before it goes out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from adapters.mqtt.broker.pattern import MOST_LEVELS
from adapters.mqtt.broker.settings import BrokerSettings
from adapters.mqtt.broker.way import Sending, Way
from hub.ports.adapter import BadRequest, Delivery, DeviceRequest, NoSuchResource, TooLarge, Unsupported

MAX_TARGET = 2048

Declared = Mapping[str, object] | None


def sending(
    settings: BrokerSettings, way: Way, req: DeviceRequest, deadline: int, services: Callable[[str], Declared]
) -> Sending:
    """The message of a call; `services` are those that a device's product declares. Raises CallError (NOT_SENT)."""
    if req.method not in way.methods:
        raise Unsupported(f"no method {req.method}", delivery=Delivery.NOT_SENT)
    if not req.target or not req.target.isprintable() or len(req.target) > MAX_TARGET:
        raise BadRequest(f"a target is printable text of at most {MAX_TARGET} letters", delivery=Delivery.NOT_SENT)
    if not all(text.isprintable() for pair in req.query for text in pair):
        raise BadRequest("a query is printable text", delivery=Delivery.NOT_SENT)
    if sum(len(text) + 1 for pair in req.query for text in pair) > MAX_TARGET:
        raise BadRequest(f"a query has at most {MAX_TARGET} letters", delivery=Delivery.NOT_SENT)
    for text in (req.content_type, req.accept):
        if text is not None and not (text.isprintable() and len(text) <= MAX_TARGET):
            raise BadRequest("a content type is printable text", delivery=Delivery.NOT_SENT)
    if len(req.payload) > settings.max_payload:
        raise TooLarge(f"at most {settings.max_payload} bytes", delivery=Delivery.NOT_SENT)
    made = way.sending(req, deadline)
    if made.topic.count("/") >= MOST_LEVELS:
        raise BadRequest(f"a topic has at most {MOST_LEVELS} levels", delivery=Delivery.NOT_SENT)
    declared = None if made.service is None else services(req.device)
    if declared and made.service not in declared:
        raise NoSuchResource(f"the device's product has no service {made.service}", delivery=Delivery.NOT_SENT)
    return made
