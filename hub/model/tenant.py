"""Tenants: who pays (Account), whose calls and channels they are (Application), and what opens the door (Key)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from hub.model.principal import Scope


@dataclass(frozen=True, slots=True)
class Account:
    """The tenant of devices. `disabled`: it vanished from the configuration; its things are kept, not served."""

    id: str
    name: str = ""
    disabled: bool = False
    declared: bool = False


@dataclass(frozen=True, slots=True)
class Application:
    """The tenant of calls, channels and keys. Its id is unique in the hub, since channel names begin with it."""

    id: str
    account: str
    name: str = ""
    callback_secret: bytes | None = field(default=None, repr=False)
    disabled: bool = False
    declared: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as the hub remembers it: never the secret, only its SHA-256 in hex.

    `disabled`: it vanished from the configuration. `revoked`: a declared key that was taken back; it
    stays so whatever the configuration says.
    """

    id: str
    application: str
    account: str
    scopes: frozenset[Scope]
    label: str = ""
    sha256: str = field(default="", repr=False)
    created_at: datetime | None = None
    disabled: bool = False
    declared: bool = False
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who signs in by name and password and then acts as an application. Names need not be unique.

    `array` is the device that is meant where the request names none. `digest` is the scrypt of the password with
    `salt`; without one only a key of the application opens the door under this name.
    """

    id: str
    name: str
    application: str
    account: str
    array: str | None = None
    salt: bytes = field(default=b"", repr=False)
    digest: bytes = field(default=b"", repr=False)
    disabled: bool = False
    declared: bool = False
