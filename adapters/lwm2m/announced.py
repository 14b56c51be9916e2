"""What a device says in a Register or an Update, read and judged before anything happens to anybody. Pure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from adapters.lwm2m.link import Offer, offer

MAX_LIFETIME = (1 << 31) - 1
MAX_NAME = 255
DEFAULT_LIFETIME = 86_400
_GRACE_SHARE, _GRACE_MOST = 0.1, 30.0


class Senseless(ValueError):
    """It makes no sense; the text says to the device what of it."""


class OtherVersion(ValueError):
    """The device speaks a version of LwM2M that the hub does not."""


@dataclass(frozen=True, slots=True)
class Announced:
    """One Register. `lifetime` is in seconds."""

    name: str
    lifetime: int
    version: str
    queue: bool
    type: str | None
    offer: Offer


@dataclass(frozen=True, slots=True)
class Renewed:
    """One Update; what is None was not said."""

    lifetime: int | None
    queue: bool | None
    offer: Offer | None


def announced(query: Sequence[tuple[str, str]], body: bytes, identity: str | None) -> Announced:
    """A Register of whoever proved to be `identity`. Raises Senseless, OtherVersion."""
    asked = dict(reversed(query))
    name = asked.get("ep") or identity
    if not name:
        raise Senseless("ep is needed")
    if len(name) > MAX_NAME:
        raise Senseless("ep is too long")
    if not name.isprintable():
        raise Senseless("ep is not printable")
    # One text for all devices that say the same, as with the lifetime: there are many of them.
    version = sys.intern(asked.get("lwm2m", "1.0"))
    if version.partition(".")[0] != "1":
        raise OtherVersion("only LwM2M 1.x")
    lifetime = _lifetime(asked)
    return Announced(
        name, DEFAULT_LIFETIME if lifetime is None else lifetime, version, bool(_queue(asked)),
        asked.get("et") or None, _offer(body),
    )


def renewed(query: Sequence[tuple[str, str]], body: bytes) -> Renewed:
    """An Update. Raises Senseless."""
    asked = dict(reversed(query))
    return Renewed(_lifetime(asked), _queue(asked), _offer(body) if body else None)


def grace(lifetime: int) -> float:
    """Seconds beyond its lifetime for which a registration is kept: an Update may be late."""
    return min(lifetime * _GRACE_SHARE, _GRACE_MOST)


def _lifetime(asked: dict[str, str]) -> int | None:
    text = asked.get("lt")
    if text is None:
        return None
    # By its length too: the number of what is longer could be anything.
    fits = len(text) <= len(str(MAX_LIFETIME)) and text.isascii() and text.isdecimal()
    if not fits or not 1 <= int(text) <= MAX_LIFETIME:
        raise Senseless("lt")
    return _whole(text)


@lru_cache(maxsize=256)
def _whole(text: str) -> int:
    return int(text)


def _queue(asked: dict[str, str]) -> bool | None:
    return "Q" in asked.get("b", "") or "Q" in asked if "b" in asked or "Q" in asked else None


def _offer(body: bytes) -> Offer:
    try:
        return offer(body.decode())
    except ValueError:
        raise Senseless("links") from None
