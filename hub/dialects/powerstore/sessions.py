"""Sessions: a signed cookie that says who signed in at which array, and the token that goes with it.

Nothing is kept of a session but the key that signs, so that it outlives a restart of the hub; only those that were
ended early are remembered, until they would have ended by themselves. Of an account that ends too many of them, all up
to a moment count as ended: what is forgotten opens nothing.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import math
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from hub.core.directory import Directory
from hub.core.users import Holder, Users
from hub.model.errors import NotAuthenticated, Unavailable
from hub.model.record import Kind, Record
from hub.ports.clock import Clock

KEY_RECORD = "powerstore-sessions"
"""The record of the signing key; it has no slash, so it can be no device's."""

MOST_ENDED = 10_000
"""Ended sessions that are remembered of one account."""
_SKEW = 60
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is valid now. `array` is the id of a device in the holder's account."""

    holder: Holder
    array: str
    nonce: str
    issued: datetime
    cookie: str


class Sessions:
    """Makes, reads and ends sessions. `open` is to be awaited before any other method."""

    def __init__(self, directory: Directory, users: Users, clock: Clock, lasts: timedelta) -> None:
        self._directory = directory
        self._users = users
        self._clock = clock
        self._lasts = lasts
        self._key: bytes | None = None
        self._opening = asyncio.Lock()
        self._ending = asyncio.Lock()

    async def open(self) -> None:
        """Load the key that signs, or make it; harmless a second time."""
        if self._key is None:
            async with self._opening:
                await self._open()

    async def _open(self) -> None:
        record = self._directory.record(Kind.CREDENTIAL, KEY_RECORD)
        if record is None or not record.secret:
            made = Record(Kind.CREDENTIAL, KEY_RECORD, "", {"kind": "signing"}, secret=secrets.token_bytes(32))
            record = await self._directory.put(made)
        assert record.secret is not None
        self._key = record.secret
        await self._forget(self._directory.records(Kind.SESSION))

    def begin(self, holder: Holder, array: str) -> Session:
        """A new session."""
        issued = self._clock.now()
        nonce = secrets.token_urlsafe(12)
        said = [_VERSION, holder.principal.key_id, holder.name, holder.proof, array, int(issued.timestamp()), nonce]
        body = _text(orjson.dumps(said))
        return Session(holder, array, nonce, issued, f"{body}.{self._signed('session', body)}")

    def find(self, cookie: str) -> Session:
        """The session of a cookie. Raises NotAuthenticated, the same for every reason."""
        body, _, mac = cookie.partition(".")
        if not hmac.compare_digest(self._signed("session", body).encode(), mac.encode("utf-8", "surrogatepass")):
            raise NotAuthenticated("the session is not known")
        version, key_id, name, proof, array, issued, nonce = _said(body)
        age = self._clock.now().timestamp() - issued
        holder = self._users.holder(key_id, name, proof) if version == _VERSION else None
        if holder is None or not -_SKEW <= age < self._lasts.total_seconds():
            raise NotAuthenticated("the session has ended")
        session = Session(holder, array, nonce, datetime.fromtimestamp(issued, UTC), cookie)
        if self._ended(session):
            raise NotAuthenticated("the session has ended")
        return session

    def token(self, session: Session) -> str:
        """The token that changes must carry beside the cookie."""
        return self._signed("token", session.cookie)

    def left(self, session: Session) -> int:
        """Whole seconds until the session ends, at least 1."""
        return max(1, math.ceil((session.issued + self._lasts - self._clock.now()).total_seconds()))

    async def end(self, session: Session) -> None:
        """End a session now, durable on return. Raises StorageFailed."""
        # One after the other: the moment up to which all have ended only moves on.
        async with self._ending:
            await self._end(session)

    async def _end(self, session: Session) -> None:
        account = session.holder.principal.account
        everybody = _everybody(account)
        ended = await self._forget(self._directory.records(Kind.SESSION, account))
        ended = sorted((record for record in ended if record.id != everybody), key=_until)
        for oldest in ended[: max(0, len(ended) - MOST_ENDED + 1)]:
            # First the moment up to which all have ended, then it may be forgotten that this one has.
            await self._directory.put(Record(Kind.SESSION, everybody, account, {"until": oldest.body["until"]}))
            await self._directory.delete(Kind.SESSION, oldest.id)
        body = {"until": self._until(session).isoformat()}
        await self._directory.put(Record(Kind.SESSION, session.nonce, account, body))

    async def _forget(self, ended: Iterable[Record]) -> list[Record]:
        """Remove what would be over by itself now; the rest."""
        now = self._clock.now()
        kept = []
        for record in ended:
            if _until(record) > now:
                kept.append(record)
            else:
                await self._directory.delete(Kind.SESSION, record.id)
        return kept

    def _ended(self, session: Session) -> bool:
        everybody = self._directory.record(Kind.SESSION, _everybody(session.holder.principal.account))
        if everybody is not None and self._until(session) <= _until(everybody):
            return True
        return self._directory.record(Kind.SESSION, session.nonce) is not None

    def _until(self, session: Session) -> datetime:
        return session.issued.replace(microsecond=0) + self._lasts + timedelta(seconds=_SKEW)

    def _signed(self, purpose: str, text: str) -> str:
        if self._key is None:
            raise Unavailable("the hub is starting", code="starting", retry_after=1)
        return _text(hmac.digest(self._key, f"{purpose}\0{text}".encode("utf-8", "surrogatepass"), "sha256"))


def _everybody(account: str) -> str:
    # A session's own id has no slash.
    return f"all/{account}"


def _until(record: Record) -> datetime:
    return datetime.fromisoformat(record.body["until"])


def _text(data: bytes) -> str:
    # Letters, digits, - and _ only: a client pastes it into a header as it is.
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _said(body: str) -> list[Any]:
    said: list[Any] = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return said
