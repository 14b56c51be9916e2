"""One PUT to a vetted address, over within its time: what a dialect's own callbacks are made of.

Unlike the signed deliveries of `attempt.py` this knows no rows and no schedule: the caller holds a position and decides
when to try again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import aiohttp
import anyio

from hub.delivery.outgoing.attempt import why
from hub.delivery.outgoing.body import CONTENT_TYPE
from hub.delivery.outgoing.client import OPTIONS, exactly, read_some
from hub.ports.clock import Clock

TAKEN = frozenset({200, 204})
PUT_TIME = timedelta(seconds=20)


class Puts:
    """Makes PUTs with one guarded session."""

    def __init__(self, session: aiohttp.ClientSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def put(self, url: str, headers: Mapping[str, str], body: bytes) -> str | None:
        """PUT a JSON body; None when it was taken (200 or 204), otherwise why not, with nothing of the URL.

        Redirects are not followed. After 20 seconds it is over.
        """
        limit = PUT_TIME / timedelta(seconds=1)
        failed: str | None = f"no answer within {limit:g} s"
        answered = False
        with anyio.CancelScope() as scope:
            timer = self._clock.call_at(self._clock.monotonic() + limit, scope.cancel)
            try:
                sent = {**headers, "Content-Type": CONTENT_TYPE}
                async with self._session.put(exactly(url), data=body, headers=sent, **OPTIONS) as response:
                    # The head decides; a body that never ends, or breaks off, changes nothing about that.
                    answered = True
                    failed = None if response.status in TAKEN else f"HTTP {response.status}"
                    await read_some(response)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                if not answered:
                    failed = why(error)
            finally:
                timer.cancel()
        return failed
