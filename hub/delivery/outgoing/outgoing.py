"""Outgoing delivery as one value: what dialects and the composition root hold on to."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hub.core.hub import OUTBOX, Hub
from hub.delivery.outgoing.attempt import Attempts
from hub.delivery.outgoing.body import Bodies
from hub.delivery.outgoing.client import outgoing_session
from hub.delivery.outgoing.courier import Courier
from hub.delivery.outgoing.endpoint import Endpoints
from hub.delivery.outgoing.guard import Guard
from hub.delivery.outgoing.secret import CallbackSecrets
from hub.model.delivery import Delivery
from hub.ports.engine import LetterSearch

REPLAY_PAGE = 500
MOST_REPLAYED = 10_000


class Outgoing:
    """Delivers to those who are not connected. From its making on the hub's intake takes callback addresses."""

    def __init__(self, hub: Hub, guard: Guard, luck: Callable[[], float] = random.random, *, ssl: Any = True) -> None:
        self._hub = hub
        self._ssl = ssl
        self.guard = guard
        self.bodies = Bodies()
        self.secrets = CallbackSecrets(hub.directory, hub.clock)
        self.endpoints = Endpoints(hub.directory, hub.clock)
        self.courier = Courier(
            hub.engine.outbox, self.endpoints, hub.access, hub.clock, hub.limits, hub.stats, luck
        )
        hub.intake.vet_callback = guard.vet

    async def run(self) -> None:
        """Deliver until cancelled. Call while the hub is running."""
        hub = self._hub
        self.endpoints.load()
        async with outgoing_session(self.guard, ssl=self._ssl) as session:
            attempts = Attempts(session, hub.clock, hub.limits, self.secrets, self.bodies)
            with hub.engine.bell.listen(OUTBOX) as ringing:
                await self.courier.run(attempts, ringing)

    async def drain(self, until: float) -> None:
        """Start nothing more and let what is under way end, at most to monotonic `until`."""
        self.courier.halt()
        await self.courier.quiet(until)

    async def letters(
        self, account: str, search: LetterSearch, endpoint: str | None = None, limit: int = 100
    ) -> Sequence[Delivery]:
        """Dead letters of an account, the one that died last first."""
        return await self._hub.engine.outbox.dead(account, endpoint, limit, search)

    async def replay(self, account: str, search: LetterSearch, endpoint: str | None = None) -> int:
        """Make the dead letters that fit due again, with their old message ids; returns how many.

        At most 10,000 at once; the rest is for the next request. Raises StorageFailed.
        """
        outbox, now, done = self._hub.engine.outbox, self._hub.clock.now(), 0
        while done < MOST_REPLAYED:
            letters = await outbox.dead(account, endpoint, REPLAY_PAGE, search)
            for letter in letters:
                self.courier.forgive(letter)
            moved = await outbox.replay([letter.id for letter in letters], now) if letters else 0
            if not moved:
                break
            done += moved
            self._hub.engine.bell.ring(OUTBOX)
            # One that died again meanwhile is not for this request any more.
            search = _died_before(search, now)
        return done


def _died_before(search: LetterSearch, now: datetime) -> LetterSearch:
    until = now + timedelta(microseconds=1)
    return replace(search, until=until if search.until is None else min(search.until, until))
