"""PUBLISH packets with QoS 0, the one packet that goes out with every call: written here at half the cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Any

_HEAD = b"\x30"
_TWO, _MARKED, _EXPIRY = Struct(">H"), Struct(">BH"), Struct(">BL")


def publish(topic: str, payload: bytes, properties: Mapping[str, Any] | None) -> bytes:
    """The packet; `properties` is None for MQTT 3.1.1. Raises ValueError for a text that is too long for a packet."""
    name = topic.encode()
    rest = b"" if properties is None else _properties(properties)
    if len(name) > 0xFFFF:
        raise ValueError("the topic is too long")
    size = 2 + len(name) + len(rest) + len(payload)
    return b"".join((_HEAD, length(size), _TWO.pack(len(name)), name, rest, payload))


def length(value: int) -> bytes:
    """A length, seven bits to a byte."""
    if value < 128:
        return bytes((value,))
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)


def _properties(said: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    for key, value in said.items():
        if key == "message_expiry_interval":
            parts.append(_EXPIRY.pack(2, value))
        elif key == "user_property":
            for name, text in value:
                parts += (_marked(38, name.encode()), _counted(text.encode()))
        elif key == "correlation_data":
            parts.append(_marked(9, value))
        else:
            parts.append(_marked({"content_type": 3, "response_topic": 8}[key], value.encode()))
    made = b"".join(parts)
    return length(len(made)) + made


def _marked(mark: int, data: bytes) -> bytes:
    if len(data) > 0xFFFF:
        raise ValueError("a property is too long")
    return _MARKED.pack(mark, len(data)) + data


def _counted(data: bytes) -> bytes:
    if len(data) > 0xFFFF:
        raise ValueError("a property is too long")
    return _TWO.pack(len(data)) + data
