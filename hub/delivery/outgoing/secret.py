"""The secret that signs an application's callbacks: made at first need, told once, rotated without a break.

It is a sealed record of its own, so that one which the configuration declares and one which was made here are kept
alike: whichever comes new, the one before signs as well for 24 hours (delivery-guarantees F2).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from hub.core.directory import Directory
from hub.delivery.outgoing.signing import new_secret
from hub.model.errors import Conflict, NotFound
from hub.model.record import Kind, Record
from hub.model.tenant import Application
from hub.ports.clock import Clock

OVERLAP = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class SecretState:
    """What may be told of a secret: never itself. `previous_until`: how long the one before still signs."""

    made_at: datetime
    shown: bool
    declared: bool
    previous_until: datetime | None = None


class CallbackSecrets:
    """The callback secrets of all applications."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._changing = asyncio.Lock()

    async def signing(self, application: str) -> tuple[str, ...]:
        """The secrets that sign now, the current one first. Raises NotFound for no such application, StorageFailed."""
        record = await self._current(application)
        current, *before = _texts(record)
        until = _moment(record, "previous_until")
        return (current, *before) if until is not None and self._clock.now() < until else (current,)

    def state(self, application: str) -> SecretState | None:
        """How the secret stands, None while there was no need for one."""
        record = self._directory.record(Kind.CREDENTIAL, _id(application))
        if record is None:
            return None
        until = _moment(record, "previous_until")
        return SecretState(
            made_at=_moment(record, "made_at") or self._clock.now(),
            shown=bool(record.body.get("shown")),
            declared=self._declared(self._application(application)) is not None,
            previous_until=until if until is not None and self._clock.now() < until else None,
        )

    async def tell(self, application: str) -> str:
        """A secret that nobody has seen: the one made at first need, or a new one in place of one that was told.

        Raises Conflict for a secret that the configuration declares: it is rotated there.
        """
        async with self._changing:
            if self._declared(self._application(application)) is not None:
                raise Conflict("the secret is declared in the configuration", code="callback-secret-declared")
            record = self._directory.record(Kind.CREDENTIAL, _id(application))
            if record is not None and not record.body.get("shown"):
                secrets = _texts(record)
                await self._put(application, secrets, _moment(record, "previous_until"), shown=True)
                return secrets[0]
            return _texts(await self._replace(application, new_secret(), record, shown=True))[0]

    async def _current(self, application: str) -> Record:
        record = self._directory.record(Kind.CREDENTIAL, _id(application))
        declared = self._declared(self._application(application))
        if record is not None and declared in (None, _texts(record)[0]):
            return record
        async with self._changing:
            record = self._directory.record(Kind.CREDENTIAL, _id(application))
            if record is not None and declared in (None, _texts(record)[0]):
                return record
            return await self._replace(application, declared or new_secret(), record, shown=declared is not None)

    async def _replace(self, application: str, secret: str, before: Record | None, *, shown: bool) -> Record:
        if before is None:
            return await self._put(application, [secret], None, shown=shown)
        return await self._put(application, [secret, _texts(before)[0]], self._clock.now() + OVERLAP, shown=shown)

    async def _put(self, application: str, secrets: list[str], until: datetime | None, *, shown: bool) -> Record:
        body = {
            "kind": "callback-secret",
            "made_at": self._clock.now().isoformat(),
            "previous_until": None if until is None else until.isoformat(),
            "shown": shown,
        }
        account = self._application(application).account
        sealed = "\n".join(secrets).encode()
        return await self._directory.put(Record(Kind.CREDENTIAL, _id(application), account, body, secret=sealed))

    def _application(self, id: str) -> Application:
        application = self._directory.application(id)
        if application is None or application.disabled:
            raise NotFound("no such application", code="application-not-found")
        return application

    @staticmethod
    def _declared(application: Application) -> str | None:
        secret = application.callback_secret
        return None if secret is None else secret.decode("utf-8", "replace")


def _id(application: str) -> str:
    # Credentials of devices have a slash in their ids, so the two never meet.
    return f"callback-secret:{application}"


def _texts(record: Record) -> list[str]:
    return (record.secret or b"").decode().split("\n")


def _moment(record: Record, member: str) -> datetime | None:
    text = record.body.get(member)
    return None if text is None else datetime.fromisoformat(text)
