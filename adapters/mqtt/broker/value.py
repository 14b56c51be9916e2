"""Payloads as JSON values and back: what is JSON stays so, text is a string, everything else is wrapped. Pure."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson

from adapters.mqtt.wire import JSON, PAYLOAD, TYPE
from hub.ports.adapter import BadRequest, Delivery, DeviceRequest


def says_json(content_type: str | None) -> bool:
    """Whether a content type is one of JSON."""
    plain = (content_type or "").partition(";")[0].strip().lower()
    return plain == JSON or plain.endswith("+json")


def value_of(req: DeviceRequest) -> Any:
    """The arguments or the payload of a call as a JSON value. Raises BadRequest for what claims to be JSON only."""
    if req.args is not None:
        return dict(req.args)
    if not req.payload and (req.content_type is None or says_json(req.content_type)):
        return None
    if says_json(req.content_type):
        try:
            return orjson.loads(req.payload)
        except orjson.JSONDecodeError:
            raise BadRequest("the payload is no JSON", delivery=Delivery.NOT_SENT) from None
    return {PAYLOAD: base64.b64encode(req.payload).decode(), TYPE: req.content_type}


def payload_of(value: Any) -> tuple[bytes, str | None]:
    """The payload that a JSON value of a device stands for, with its content type."""
    if isinstance(value, dict) and PAYLOAD in value and set(value) <= {PAYLOAD, TYPE}:
        kind = value.get(TYPE)
        try:
            payload = base64.b64decode(str(value[PAYLOAD]).encode(), validate=True)
        except (binascii.Error, ValueError):
            return orjson.dumps(value), JSON
        return payload, kind if isinstance(kind, str) else None
    return (b"", None) if value is None else (orjson.dumps(value), JSON)


def member(value: Any, path: str) -> Any:
    """The member of a JSON object at a dotted path; None where there is none."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
