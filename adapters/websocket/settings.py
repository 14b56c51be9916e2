"""The settings of the WebSocket adapter, read strictly: an unknown key or a wrong type is named, never ignored.

    mount = "/devices/v1"
    window = 1                   # calls that a device takes at a time; a device may ask for less in its HELLO
    hello = 5                    # seconds for the first frame
    heartbeat = 20               # seconds; two of them without any frame end the connection
    lifetime = 86400             # seconds that a registration lives without a sign of its device
    max_frame = 262144           # bytes of one message from a device; the server in front must allow as much
    frames_per_second = 1000     # then reading pauses
    connections = 20000
    origins = []                 # web pages that may dial in, beside the hub's own origin
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class WebSocketSettings:
    """Everything that can be set."""

    mount: str = "/devices/v1"
    window: int = 1
    hello: timedelta = timedelta(seconds=5)
    heartbeat: timedelta = timedelta(seconds=20)
    lifetime: timedelta = timedelta(hours=24)
    max_frame: int = 256 * 1024
    frames_per_second: int = 1000
    connections: int = 20_000
    origins: tuple[str, ...] = ()


def read(settings: Mapping[str, Any]) -> WebSocketSettings:
    """The settings as values. Raises ValueError that names the key and what is wrong with it."""
    defaults = WebSocketSettings()
    values: dict[str, Any] = {}
    names = {field.name for field in fields(WebSocketSettings)}
    for key, value in settings.items():
        if key not in names:
            raise ValueError(f"{key}: no such setting; there are {', '.join(sorted(names))}")
        default = getattr(defaults, key)
        if isinstance(default, str):
            values[key] = _text(key, value)
        elif isinstance(default, timedelta):
            values[key] = _seconds(key, value)
        elif isinstance(default, int):
            values[key] = _whole(key, value)
        else:
            values[key] = _texts(key, value)
    return WebSocketSettings(**values)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f"{key}: is a path that begins with a slash")
    return value.rstrip("/")


def _seconds(key: str, value: Any) -> timedelta:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 10_000_000:
        raise ValueError(f"{key}: is a number of seconds above 0")
    return timedelta(seconds=value)


def _whole(key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1 << 30:
        raise ValueError(f"{key}: is a whole number above 0")
    return value


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key}: is a list of texts")
    return tuple(value)
