"""The sweep: what nobody rings for. It costs a look per second and makes every lost wake-up harmless."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from hub.core.dispatch import Dispatch
from hub.core.limits import Limits
from hub.core.presence import PresenceBook
from hub.model.errors import StorageFailed
from hub.ports.clock import Clock
from hub.ports.engine import Engine

LOOK = 1.0
TIDY = 60.0

log = logging.getLogger("hub.sweep")


class Sweep:
    """Each second looks at every lane and ends registrations; once a minute trims what is kept."""

    def __init__(
        self, engine: Engine, dispatch: Dispatch, presence: PresenceBook, clock: Clock, limits: Limits
    ) -> None:
        self._engine = engine
        self._dispatch = dispatch
        self._presence = presence
        self._clock = clock
        self._limits = limits

    async def run(self) -> None:
        """Sweep until cancelled."""
        due = self._clock.monotonic()
        while True:
            await self._clock.sleep_until(self._clock.monotonic() + LOOK)
            await self._step(self._look)
            await self._step(self._presence.expire)
            if self._clock.monotonic() >= due:
                due = self._clock.monotonic() + TIDY
                await self.tidy()

    async def tidy(self) -> None:
        """End what outlived its deadline, then trim logs and journal, a bounded number of rows per commit."""
        self._dispatch.ends.end_overdue()
        await self._step(lambda: self._all(self._trim))
        await self._step(lambda: self._all(self._forget))

    async def _look(self) -> None:
        self._dispatch.queues.pump_all()

    async def _step(self, step: Callable[[], Awaitable[None]]) -> None:
        """One step; what goes wrong in it is told and must not end the sweep, nor keep the next step from its turn."""
        try:
            await step()
        except StorageFailed as failure:
            log.warning("the sweep could not write: %s", failure)
        except Exception:
            log.exception("a step of the sweep failed")

    async def _all(self, some: Callable[[], Awaitable[int]]) -> None:
        while await some() >= self._limits.trim_rows:
            pass

    async def _trim(self) -> int:
        limits = self._limits
        return await self._engine.log.trim(
            self._clock.now() - limits.retention, limits.retention_events, limits.retention_bytes, limits.trim_rows
        )

    async def _forget(self) -> int:
        limits = self._limits
        return await self._engine.journal.forget(
            self._clock.now() - limits.ended, limits.ended_calls, limits.trim_rows
        )
