"""How a call ended: the ending, and what goes back to the caller."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any


class Ending(enum.Enum):
    """The ways a call can end; `lifecycle.ENDINGS` says how each is told."""

    ANSWERED = "answered"
    DEVICE_ERROR = "device-error"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed-out"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REMOVED = "removed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a call, as neutral as it gets: status is HTTP-like, `error` a code word or None.

    `native` keeps what the device's protocol said (a CoAP code, an EnOS code and message).
    """

    ending: Ending
    status: int
    payload: bytes = b""
    content_type: str | None = None
    max_age: timedelta | None = None
    error: str | None = None
    device_time: datetime | None = None
    native: Mapping[str, Any] = field(default_factory=dict)


def values_in(native: Mapping[str, Any]) -> list[Any] | None:
    """What an adapter decoded from a payload that few can read, as plain values; None where it did not."""
    values = native.get("values")
    return values if isinstance(values, list) else None
