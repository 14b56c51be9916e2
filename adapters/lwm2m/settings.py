"""The settings of the LwM2M adapter, read strictly: an unknown key or a wrong type is named, never ignored.

    host = "127.0.0.1"              # a numeric address; "0.0.0.0" or "::" to be reached from elsewhere
    port = 5683
    next_ports = 0                  # how many further ports are tried when that one is taken
    open = false                    # let every endpoint name in, into the adapter's account; else known names only
    inflight = 1                    # requests under way to one device (NSTART)
    total = 2000                    # calls under way to all; a tenth as many more for observations
    devices = 100000                # registrations at a time
    asleep_after = 93               # seconds of silence after which a device in queue mode counts as asleep
    attempt_timeout = 30            # seconds that a call waits for its answer, unless the caller says otherwise
    max_payload = 65536             # bytes of one call, of one answer, of one upload
    receive_buffer = 4194304        # bytes asked of the system for what waits to be read
    registrations_per_second = 500
    registration_burst = 5000
    registrations_per_device = 10   # in 10 s; more, and the device is refused for 60 s
    follow_address = false          # believe a notification from elsewhere that its device has moved
    shared_address = false          # call several devices behind one address and port (a gateway, a simulator) all
                                    # there; else only the one that registered or updated last
    dtls = false                    # DTLS with pre-shared keys (extra `dtls`)
    dtls_port = 5684
    dtls_sessions = 2000            # about 45 KiB each; the one that rests longest goes
    dtls_idle = 86400               # seconds of silence after which a session goes
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class LwM2MSettings:
    """Everything that can be set."""

    host: str = "127.0.0.1"
    port: int = 5683
    next_ports: int = 0
    open: bool = False
    inflight: int = 1
    total: int = 2000
    devices: int = 100_000
    asleep_after: timedelta = timedelta(seconds=93)
    attempt_timeout: timedelta = timedelta(seconds=30)
    max_payload: int = 65_536
    receive_buffer: int = 4 * 1024 * 1024
    registrations_per_second: int = 500
    registration_burst: int = 5000
    registrations_per_device: int = 10
    follow_address: bool = False
    shared_address: bool = False
    dtls: bool = False
    dtls_port: int = 5684
    dtls_sessions: int = 2000
    dtls_idle: timedelta = timedelta(hours=24)


# The least and the most of each number; durations in seconds.
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "port": (0, 65_535),
    "next_ports": (0, 100),
    "inflight": (1, 16),
    "total": (1, 60_000),
    "devices": (1, 1_000_000),
    "asleep_after": (1, 86_400),
    "attempt_timeout": (1, 86_400),
    "max_payload": (1024, 16 * 1024 * 1024),
    "receive_buffer": (65_536, 256 * 1024 * 1024),
    "registrations_per_second": (1, 100_000),
    "registration_burst": (1, 1_000_000),
    "registrations_per_device": (1, 1_000_000),
    "dtls_port": (0, 65_535),
    "dtls_sessions": (1, 100_000),
    "dtls_idle": (60, 30 * 86_400),
}


def read(settings: Mapping[str, Any]) -> LwM2MSettings:
    """The settings as values. Raises ValueError that names the key and what is wrong with it."""
    defaults = LwM2MSettings()
    known = {field.name: getattr(defaults, field.name) for field in fields(LwM2MSettings)}
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in known:
            raise ValueError(f"{key}: no such setting; there are {', '.join(sorted(known))}")
        values[key] = _value(key, value, known[key])
    return LwM2MSettings(**values)


def _value(key: str, value: Any, default: Any) -> Any:
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{key}: is true or false")
        return value
    if isinstance(default, str):
        return _host(key, value)
    least, most = _BOUNDS[key]
    whole = isinstance(default, int)
    right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not right or not least <= value <= most:
        kind = "a whole number" if whole else "a number of seconds"
        raise ValueError(f"{key}: is {kind} from {least:g} to {most:g}")
    return value if whole else timedelta(seconds=value)


def _host(key: str, value: Any) -> str:
    if value == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(value)) if isinstance(value, str) else _host(key, "")
    except ValueError:
        raise ValueError(f"{key}: is a numeric address") from None
