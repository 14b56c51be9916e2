"""The settings of the MQTT adapter, read strictly: an unknown key or a wrong type is named, never ignored.

    host = "127.0.0.1"
    port = 11883                 # plain TCP; 0 takes a free one, -1 none
    move = false                 # take the next free port where one is taken, for trying things out
    tls_port = -1                # TLS; needs certificate and key
    certificate = ""             # PEM files
    key = ""
    window = 16                  # calls that a device takes at a time
    connect_time = 10            # seconds for a CONNECT after the connection
    keep_alive = 300             # seconds; the longest that a client may ask for, and what 0 means
    max_packet = 524288          # bytes of one message from a device, without its topic
    packets_per_second = 1000    # then reading pauses
    connections = 20000
    max_age = 0                  # seconds for which a posted value is fresh; 0: it is not kept for reads
    sub_devices = 1000           # sub-devices of one gateway
    attributes = 65536           # bytes of attributes and tags of one device
    activations = 100            # connections of one product at a time that are told their secret
    activation_time = 60         # seconds that such a connection lasts
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Everything that can be set."""

    host: str = "127.0.0.1"
    port: int = 11883
    move: bool = False
    tls_port: int = -1
    certificate: str = ""
    key: str = ""
    window: int = 16
    connect_time: timedelta = timedelta(seconds=10)
    keep_alive: timedelta = timedelta(seconds=300)
    max_packet: int = 512 * 1024
    packets_per_second: int = 1000
    connections: int = 20_000
    max_age: int = 0
    sub_devices: int = 1000
    attributes: int = 64 * 1024
    activations: int = 100
    activation_time: timedelta = timedelta(seconds=60)


_PORTS = {"port", "tls_port"}
_FROM_ZERO = {"max_age"}


def read(settings: Mapping[str, Any]) -> MqttSettings:
    """The settings as values. Raises ValueError that names the key and what is wrong with it."""
    defaults = MqttSettings()
    values: dict[str, Any] = {}
    names = {field.name for field in fields(MqttSettings)}
    for key, value in settings.items():
        if key not in names:
            raise ValueError(f"{key}: no such setting; there are {', '.join(sorted(names))}")
        default = getattr(defaults, key)
        if isinstance(default, str):
            values[key] = _text(key, value)
        elif isinstance(default, bool):
            values[key] = _truth(key, value)
        elif isinstance(default, timedelta):
            values[key] = _seconds(key, value)
        elif key in _PORTS:
            values[key] = _whole(key, value, -1, 65535)
        else:
            values[key] = _whole(key, value, 0 if key in _FROM_ZERO else 1, 1 << 30)
    read = MqttSettings(**values)
    if read.tls_port >= 0 and not (read.certificate and read.key):
        raise ValueError("tls_port: needs a certificate and a key")
    if read.port < 0 and read.tls_port < 0:
        raise ValueError("port: there is neither a plain port nor one with TLS")
    return read


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key}: is a text")
    return value


def _truth(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{key}: is true or false")
    return value


def _seconds(key: str, value: Any) -> timedelta:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 65_535:
        raise ValueError(f"{key}: is a number of seconds above 0, at most 65535")
    return timedelta(seconds=value)


def _whole(key: str, value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{key}: is a whole number from {least} to {most}")
    return value
