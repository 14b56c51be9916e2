"""MQTT 3.1.1 in bytes and back, pure: the packets of `packet.py`.

The decoder is incremental and judges a packet's size by its header, so that nothing oversized is ever kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from adapters.mqtt.listener.body import Body, Malformed
from adapters.mqtt.listener.packet import (
    ACCEPTED,
    BAD_CLIENT_ID,
    BAD_CREDENTIALS,
    BAD_LEVEL,
    CONNACK,
    CONNECT,
    DISCONNECT,
    LEVEL,
    NOT_AUTHORIZED,
    PINGREQ,
    PINGRESP,
    PUBACK,
    PUBLISH,
    REFUSED_FILTER,
    SUBACK,
    SUBSCRIBE,
    UNAVAILABLE,
    UNSUBACK,
    UNSUBSCRIBE,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)

__all__ = [
    "ACCEPTED", "BAD_CLIENT_ID", "BAD_CREDENTIALS", "BAD_LEVEL", "CONNACK", "CONNECT", "ConnAck", "Connect",
    "DISCONNECT", "Decoder", "Disconnect", "LEVEL", "Malformed", "NOT_AUTHORIZED", "PINGREQ", "PINGRESP",
    "PUBACK", "PUBLISH", "Packet", "PingReq", "PingResp", "PubAck", "Publish", "REFUSED_FILTER", "SUBACK",
    "SUBSCRIBE", "SubAck", "Subscribe", "TooBig", "UNAVAILABLE", "UNSUBACK", "UNSUBSCRIBE", "UnsubAck",
    "Unsubscribe", "encode",
]

# The fixed header's flags that each type must have; PUBLISH has its own.
_FLAGS = {SUBSCRIBE: 2, UNSUBSCRIBE: 2}


class TooBig(Malformed):
    """A packet is announced that is larger than the limit."""


# -- out ----------------------------------------------------------------------------------------


def encode(packet: Packet) -> bytes:
    """The bytes of a packet. Raises ValueError for what MQTT cannot say (a text over 65,535 bytes)."""
    match packet:
        case Publish():
            head = PUBLISH << 4 | packet.dup << 3 | packet.qos << 1 | packet.retain
            number = struct.pack(">H", packet.packet_id) if packet.qos else b""
            return _framed(head, _text(packet.topic) + number + packet.payload)
        case PubAck():
            return _framed(PUBACK << 4, struct.pack(">H", packet.packet_id))
        case PingReq():
            return _framed(PINGREQ << 4, b"")
        case PingResp():
            return _framed(PINGRESP << 4, b"")
        case Disconnect():
            return _framed(DISCONNECT << 4, b"")
        case ConnAck():
            return _framed(CONNACK << 4, bytes((packet.present, packet.code)))
        case Subscribe():
            asked = b"".join(_text(name) + bytes((qos,)) for name, qos in packet.filters)
            return _framed(SUBSCRIBE << 4 | 2, struct.pack(">H", packet.packet_id) + asked)
        case SubAck():
            return _framed(SUBACK << 4, struct.pack(">H", packet.packet_id) + bytes(packet.codes))
        case Unsubscribe():
            names = b"".join(_text(name) for name in packet.filters)
            return _framed(UNSUBSCRIBE << 4 | 2, struct.pack(">H", packet.packet_id) + names)
        case UnsubAck():
            return _framed(UNSUBACK << 4, struct.pack(">H", packet.packet_id))
        case Connect():
            return _framed(CONNECT << 4, _connect(packet))


def _connect(packet: Connect) -> bytes:
    flags = packet.clean << 1
    tail = _text(packet.client_id)
    if packet.username is not None:
        flags |= 0x80
        tail += _text(packet.username)
    if packet.password is not None:
        flags |= 0x40
        tail += struct.pack(">H", len(packet.password)) + packet.password
    return _text("MQTT") + bytes((packet.level, flags)) + struct.pack(">H", packet.keep_alive) + tail


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) > 0xFFFF:
        raise ValueError("a text has at most 65,535 bytes")
    return struct.pack(">H", len(data)) + data


def _framed(head: int, body: bytes) -> bytes:
    length, left = bytearray(), len(body)
    while True:
        left, seven = left >> 7, left & 0x7F
        length.append(seven | 0x80 if left else seven)
        if not left:
            break
    if len(length) > 4:
        raise ValueError("a packet has at most 268,435,455 bytes")
    return bytes((head,)) + bytes(length) + body


# -- in -----------------------------------------------------------------------------------------


class Decoder:
    """Bytes in, packets out. `limit` bounds the rest of a packet after its header and may be changed at any time."""

    __slots__ = ("_buffer", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[Packet]:
        """The packets that are whole now. Raises Malformed, after those that were good; nothing follows it."""
        buffer = self._buffer + data if self._buffer else data
        self._buffer = b""
        at = 0
        while (found := self._frame(buffer, at)) is not None:
            start, end = found
            yield _packet(buffer[at], buffer[start:end])
            at = end
        self._buffer = bytes(buffer[at:])

    @property
    def kept(self) -> int:
        """How many bytes of an unfinished packet are kept."""
        return len(self._buffer)

    def _frame(self, buffer: bytes, at: int) -> tuple[int, int] | None:
        """Where the body of the next packet begins and ends; None while it is not whole."""
        length, shift, here = 0, 0, at + 1
        if here > len(buffer):
            return None
        while True:
            if here == len(buffer):
                return None
            byte = buffer[here]
            here += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
            if shift == 28:
                raise Malformed("the length of a packet has more than four bytes")
        if length > self.limit:
            raise TooBig(f"a packet of {length} bytes, at most {self.limit} are taken")
        return (here, here + length) if here + length <= len(buffer) else None


def _packet(head: int, body: bytes) -> Packet:
    kind, flags = head >> 4, head & 0x0F
    if kind == PUBLISH:
        return _publish(flags, body)
    if flags != _FLAGS.get(kind, 0):
        raise Malformed("reserved flags are set")
    reader = Body(body)
    packet: Packet
    match kind:
        case 1:
            return _connected(reader)
        case 2:
            present, code = reader.byte(), reader.byte()
            packet = ConnAck(code, bool(present))
        case 4:
            packet = PubAck(reader.number())
        case 8:
            number, filters = reader.packet_id(), []
            while reader.left:
                name, qos = reader.text(), reader.byte()
                if qos > 2 or not name:
                    raise Malformed("a filter is a text with a QoS of 0 to 2")
                filters.append((name, qos))
            packet = Subscribe(number, tuple(filters))
            if not filters:
                raise Malformed("a subscription without filters")
        case 9:
            packet = SubAck(reader.number(), tuple(reader.rest()))
        case 10:
            number, names = reader.packet_id(), []
            while reader.left:
                names.append(reader.text())
            packet = Unsubscribe(number, tuple(names))
            if not names:
                raise Malformed("nothing to unsubscribe from")
        case 11:
            packet = UnsubAck(reader.number())
        case 12:
            packet = PingReq()
        case 13:
            packet = PingResp()
        case 14:
            packet = Disconnect()
        case _:
            raise Malformed(f"packets of type {kind} are not taken: QoS 2 is not offered")
    reader.end()
    return packet


def _publish(flags: int, body: bytes) -> Publish:
    qos = flags >> 1 & 3
    if qos > 1 or (qos == 0 and flags & 8):
        raise Malformed("QoS 0 and 1 are offered")
    reader = Body(body)
    topic = reader.text()
    if not topic or "+" in topic or "#" in topic:
        raise Malformed("a topic name has no wildcards and is not empty")
    number = reader.packet_id() if qos else 0
    return Publish(topic, reader.rest(), qos, number, bool(flags & 8), bool(flags & 1))


def _connected(reader: Body) -> Connect:
    name, level = reader.text(), reader.byte()
    if name != "MQTT" or level != LEVEL:
        if name in ("MQTT", "MQIsdp"):
            return Connect(level=level if name == "MQTT" else 3)
        raise Malformed("this is not MQTT")
    flags, keep_alive = reader.byte(), reader.number()
    will, qos = flags & 0x04, flags >> 3 & 3
    if flags & 1 or qos > 2 or (not will and flags & 0x38) or (flags & 0x40 and not flags & 0x80):
        raise Malformed("impossible flags in CONNECT")
    client_id = reader.text()
    if will:
        reader.text()
        reader.data()
    username = reader.text() if flags & 0x80 else None
    password = reader.data() if flags & 0x40 else None
    reader.end()
    return Connect(client_id, username, password, keep_alive, bool(flags & 2))
