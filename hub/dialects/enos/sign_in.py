"""Signing in with a key and a secret: tokens, and the signatures of requests that carry one.

A token is made of the application's own secret, so that it can be checked after a restart and by nobody else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from hub.core.organisations import Organisations, SigningApp
from hub.delivery.control_reply import milliseconds
from hub.dialects.enos.failure import Failure
from hub.ports.clock import Clock

USED_TWICE, NO_APP, BAD_ENCRYPTION, BAD_PARAMETER = 1001, 1002, 1003, 1004
EMPTY, EXPIRED, REFRESH_FAILED = 1202, 1203, 1204

SKEW = timedelta(minutes=15)
REMEMBERED = 10_000

_MESSAGES = {
    USED_TWICE: "encryption used twice",
    NO_APP: "no such appKey",
    BAD_ENCRYPTION: "bad encryption",
    BAD_PARAMETER: "bad parameter",
    EMPTY: "empty parameter",
    EXPIRED: "token expired",
    REFRESH_FAILED: "refresh failed",
}


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was given out, and until when it serves (ms)."""

    text: str
    until: int


class Tokens:
    """Tokens of one hub. `life` is how long one serves."""

    def __init__(self, organisations: Organisations, clock: Clock, life: timedelta) -> None:
        self._organisations = organisations
        self._clock = clock
        self._life = life // timedelta(milliseconds=1)
        self._given: dict[str, Token] = {}
        self._used: OrderedDict[str, None] = OrderedDict()

    def get(self, key: str, encrypted: str, timestamp: str) -> Token:
        """The application's token: the same again while it lives. Raises Failure."""
        app = self._proved(key, encrypted, timestamp)
        token = self._given.get(key)
        # One that was made with another secret is nobody's any more.
        if token is None or self._look(token.text) != (app, token.until) or token.until <= self._now:
            token = self._given[key] = self._make(app)
        return token

    def refresh(self, key: str, encrypted: str, timestamp: str, shown: str) -> Token:
        """Another token in place of one that was given out. Raises Failure."""
        app = self._proved(key, encrypted, timestamp)
        found = self._look(shown)
        if found is None or found[0] != app:
            raise _failure(REFRESH_FAILED)
        token = self._given[key] = self._make(app)
        return token

    def holder(self, shown: str) -> SigningApp:
        """Whose token this is. Raises Failure for one of nobody, and for one that has expired."""
        found = self._look(shown)
        if found is None:
            raise Failure(401, "the token is not known")
        if found[1] <= self._now:
            raise _failure(EXPIRED)
        return found[0]

    def verify(
        self, app: SigningApp, token: str, signed: str, timestamp: str, query: Sequence[tuple[str, str]], body: bytes
    ) -> None:
        """Raises Failure unless the request was signed by the application, and not long ago."""
        self._fresh(timestamp)
        wanted = signature(token, query, body, timestamp, app.secret)
        if not hmac.compare_digest(wanted, signed.lower().encode("ascii", "replace").decode()):
            raise Failure(401, "the signature is wrong")

    @property
    def _now(self) -> int:
        return milliseconds(self._clock.now())

    def _proved(self, key: str, encrypted: str, timestamp: str) -> SigningApp:
        if not key or not encrypted or not timestamp:
            raise _failure(EMPTY)
        app = self._organisations.app(key)
        if app is None:
            raise _failure(NO_APP)
        self._fresh(timestamp)
        wanted = encryption(key, timestamp, app.secret)
        if not hmac.compare_digest(wanted, encrypted.lower().encode("ascii", "replace").decode()):
            raise _failure(BAD_ENCRYPTION)
        if wanted in self._used:
            raise _failure(USED_TWICE)
        self._used[wanted] = None
        if len(self._used) > REMEMBERED:
            self._used.popitem(last=False)
        return app

    def _fresh(self, timestamp: str) -> None:
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 16):
            raise _failure(BAD_PARAMETER, "the timestamp is a number of milliseconds")
        if abs(int(timestamp) - self._now) > SKEW // timedelta(milliseconds=1):
            raise _failure(BAD_PARAMETER, "the timestamp is too far from the hub's clock")

    def _make(self, app: SigningApp) -> Token:
        until = self._now + self._life
        named = base64.urlsafe_b64encode(app.key.encode()).decode().rstrip("=")
        said = f"{named}.{until}.{secrets.token_hex(8)}"
        return Token(f"{said}.{_mark(app, said)}", until)

    def _look(self, text: str) -> tuple[SigningApp, int] | None:
        said, dot, mark = text.rpartition(".")
        parts = said.split(".")
        if not dot or len(parts) != 3 or not (parts[1].isascii() and parts[1].isdigit() and len(parts[1]) <= 16):
            return None
        try:
            key = base64.urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)).decode()
        except (binascii.Error, ValueError):
            return None
        app = self._organisations.app(key)
        if app is None or not hmac.compare_digest(_mark(app, said), mark.encode("ascii", "replace").decode()):
            return None
        return app, int(parts[1])


def encryption(key: str, timestamp: str, secret: bytes) -> str:
    """What an application shows to get a token: lower-case hex."""
    return hashlib.sha256(f"{key}{timestamp}".encode() + secret).hexdigest()


def signature(token: str, query: Sequence[tuple[str, str]], body: bytes, timestamp: str, secret: bytes) -> str:
    """What an application signs a request with; the query goes in by name, its values decoded."""
    named = "".join(name + value for name, value in sorted(query, key=lambda pair: pair[0]))
    return hashlib.sha256(token.encode() + named.encode() + body + timestamp.encode() + secret).hexdigest()


def _mark(app: SigningApp, said: str) -> str:
    return hmac.digest(app.secret, b"token\0" + said.encode(), "sha256").hex()


def _failure(code: int, submsg: str | None = None) -> Failure:
    return Failure(code, submsg, _MESSAGES[code])
