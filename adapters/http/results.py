"""Results that are fetched from where their jobs left them: a few at a time, and again for as long as their upstream
has no answer."""

from __future__ import annotations

import random

from adapters.http.pace import Beside
from adapters.http.schedule import Schedule
from adapters.http.told import Ended, result_of
from adapters.http.upstream import Upstream
from adapters.http.wire import Answer, retry_after
from hub.ports.adapter import CallError, Delivery, DeviceTimeout
from hub.ports.clock import Clock

MOST_RESULTS = 4
SPREAD = 0.4
FIRST_PAUSE, MOST_PAUSE = 1.0, 30.0
BUSY = frozenset({429, 503})
NOT_NOW = BUSY | {502, 504}


class Results:
    """Fetches results of one upstream. `jobs` says when it may be asked at all."""

    def __init__(
        self, upstream: Upstream, clock: Clock, jobs: Schedule, beside: Beside, answer: float
    ) -> None:
        self._upstream = upstream
        self._clock = clock
        self._jobs = jobs
        self._beside = beside
        self._answer = answer
        self._chance = random.Random()

    async def fetch(self, path: str, deadline: float) -> Ended:
        """The result at an address. Raises DeviceTimeout (DELIVERED) at the deadline, NotConnected when the hub
        stops."""
        pause = FIRST_PAUSE
        try:
            while True:
                answer = None
                async with self._beside.turn(deadline):
                    if tried := self._jobs.not_before <= self._clock.monotonic():
                        answer = await self._get(path, deadline)
                if answer is not None:
                    return Ended(result_of(answer, self._clock.now()))
                await self._rest(pause if tried else 0.0, deadline)
                pause = min(MOST_PAUSE, pause * 2) if tried else pause
        except DeviceTimeout as error:
            raise DeviceTimeout("the result could not be fetched", delivery=Delivery.DELIVERED) from error

    async def _get(self, path: str, deadline: float) -> Answer | None:
        """The answer, or None while there is none; nobody asks for a while then where that is no matter of this result
        alone."""
        until = min(deadline, self._clock.monotonic() + self._answer)
        try:
            answer = await self._upstream.ask("GET", path, until, headers={"Accept": "application/json"})
        except CallError as error:
            if error.delivery is Delivery.NOT_SENT and self._clock.monotonic() < deadline:
                self._jobs.hold_off(error.retry_after)
            return None
        if answer.status in BUSY:
            self._jobs.hold_off(retry_after(answer.headers, self._clock.now()))
        return None if answer.status in NOT_NOW else answer

    async def _rest(self, pause: float, deadline: float) -> None:
        now = self._clock.monotonic()
        # Those that wait for the same moment do not all come at once.
        pause = max(pause, self._jobs.not_before - now) * self._chance.uniform(1, 1 + SPREAD)
        with self._upstream.bound(deadline):
            await self._clock.sleep_until(now + pause)
