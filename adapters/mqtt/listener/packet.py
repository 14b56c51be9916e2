"""The packets of MQTT 3.1.1 as values: what a device end needs of them (QoS 0 and 1, no retained state, no QoS 2)."""

from __future__ import annotations

from dataclasses import dataclass

LEVEL = 4

CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 8, 9, 10, 11
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14

ACCEPTED, BAD_LEVEL, BAD_CLIENT_ID, UNAVAILABLE, BAD_CREDENTIALS, NOT_AUTHORIZED = range(6)
REFUSED_FILTER = 0x80


@dataclass(frozen=True, slots=True)
class Connect:
    """A client introduces itself. Of another protocol level only `level` is known. Durations are seconds."""

    client_id: str = ""
    username: str | None = None
    password: bytes | None = None
    keep_alive: int = 60
    clean: bool = True
    level: int = LEVEL


@dataclass(frozen=True, slots=True)
class ConnAck:
    """The answer to CONNECT."""

    code: int
    present: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """A message. `packet_id` is 0 with QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    packet_id: int = 0
    dup: bool = False
    retain: bool = False


@dataclass(frozen=True, slots=True)
class PubAck:
    """The receiver holds a message of QoS 1."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Filters with the QoS asked for."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class SubAck:
    """What was granted, in the order of the filters."""

    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Filters that are wanted no longer."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnsubAck:
    """The answer to UNSUBSCRIBE."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class PingReq:
    """A sign of life."""


@dataclass(frozen=True, slots=True)
class PingResp:
    """Its answer."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """A polite end."""


Packet = (
    Connect | ConnAck | Publish | PubAck | Subscribe | SubAck | Unsubscribe | UnsubAck | PingReq | PingResp | Disconnect
)
