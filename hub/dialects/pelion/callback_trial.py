"""The trial of a callback: one PUT of `{}` before it is taken, one at a time for each application.

Trials have places of their own, a few for each account, so that URLs which hang hold up neither deliveries nor the
trials of others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hub.core.hub import Hub
from hub.core.on_behalf import on_behalf
from hub.delivery.outgoing.guard import Guard
from hub.delivery.outgoing.places import Places
from hub.dialects.pelion import callback_wire
from hub.dialects.pelion.callback_reader import CallbackReaders
from hub.model.errors import BadRequest, TooMany, Unprocessable
from hub.model.principal import Principal

PATIENCE = 5.0
"""Seconds that a trial waits for a place."""


class Trials:
    """The trials of one hub."""

    def __init__(self, hub: Hub, readers: CallbackReaders, guard: Guard) -> None:
        self._readers = readers
        self._guard = guard
        self._trying: set[str] = set()
        limits = hub.limits
        self._places = Places(limits.trials_at_once, limits.trials_per_account, hub.clock)

    async def make(self, principal: Principal, asked: callback_wire.Callback) -> None:
        """Vet the address and try it.

        Raises BadRequest whose code is the word that says what failed, TooMany (`another-trial`) while one of the
        application is going on, Unavailable when there is no place for it, or the hub goes down.
        """
        with self._only(principal.application), on_behalf(principal.account):
            try:
                await self._guard.vet(asked.url, callback_wire.MOST_CHARACTERS)
            except Unprocessable as error:
                raise BadRequest(error.detail, code=callback_wire.ADDRESS) from None
            async with self._places.place(principal.account, PATIENCE):
                failed = await self._readers.put(asked.url, asked.headers, callback_wire.TRIAL)
        if failed is not None:
            raise BadRequest(f"the trial PUT failed: {failed}", code=callback_wire.UNREACHABLE)

    @contextmanager
    def _only(self, application: str) -> Iterator[None]:
        if application in self._trying:
            raise TooMany("a callback of this application is being tried", code="another-trial", retry_after=1)
        self._trying.add(application)
        try:
            yield
        finally:
            self._trying.discard(application)
