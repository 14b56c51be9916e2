"""A device as the directory knows it, and what it offers."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

ARRAY = "array"
"""The type, and the kind of alias, that makes a device an array."""


class Presence(enum.Enum):
    """Whether a device can be reached. UNKNOWN: nobody can tell before trying."""

    UNKNOWN = "unknown"
    ONLINE = "online"
    ASLEEP = "asleep"
    OFFLINE = "offline"


class Registration(enum.Enum):
    """Whether the device ever came, and how it left (the Pelion directory's `state`)."""

    DECLARED = "declared"
    REGISTERED = "registered"
    DEREGISTERED = "deregistered"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Resource:
    """Something a device offers at a path; words as in RFC 6690 (rt, if, ct, obs)."""

    path: str
    resource_type: str | None = None
    interface: str | None = None
    content_type: str | None = None
    observable: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A device of an account. `address` is opaque to all but the adapter."""

    id: str
    account: str
    adapter: str
    address: str
    name: str | None = None
    type: str | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    queue_mode: bool = False
    registration: Registration = Registration.DECLARED
    presence: Presence = Presence.UNKNOWN
    resources: tuple[Resource, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None
    last_seen: datetime | None = None
    expires_at: datetime | None = None
    boot: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    disabled: bool = False

    @property
    def is_array(self) -> bool:
        """Whether it is an array: a storage system whose changing calls are its jobs."""
        return self.type == ARRAY or ARRAY in self.aliases
