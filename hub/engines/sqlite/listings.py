"""Searches: reads that cost what their askers ask for.

Each is first given a moment on one thread; what is not done by then begins again on another, is given a while there,
and is cut after that. So a cheap search waits for a moment of each dear one before it, and never for the whole of one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hub.engines.sqlite.readers import CutShort, Readers
from hub.model.errors import Unavailable
from hub.ports.clock import Clock

T = TypeVar("T")

QUICK = 0.1
"""Seconds of the first try."""
LONGEST = 3.0
"""Seconds of the second."""
MOST_DEAR = 16
"""How many may wait for the second; more are refused."""


class Listings:
    """Two threads that search, from `start` to `stop`."""

    def __init__(self, clock: Clock, damaged: Callable[[str], None]) -> None:
        self._quick = Readers(1, 1000, "hub-listing", clock, damaged)
        self._dear = Readers(1, MOST_DEAR, "hub-search", clock, damaged)

    @property
    def full(self) -> bool:
        """Whether no dear search is taken now."""
        return self._dear.full

    def start(self, file: Path) -> None:
        """Begin."""
        self._quick.start(file)
        self._dear.start(file)

    async def stop(self) -> None:
        """Cut what is under way or waits, and end; harmless a second time."""
        await self._quick.stop()
        await self._dear.stop()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `Readers.read`, but `work` may be run twice. Raises Unavailable when it takes too long, or when too much
        that does waits already."""
        try:
            return await self._quick.read(work, QUICK)
        except CutShort:
            pass
        if self.full:
            raise Unavailable("Too many long searches are under way.", code="too-many-searches", retry_after=LONGEST)
        try:
            return await self._dear.read(work, LONGEST)
        except CutShort:
            detail = "The search takes too long; ask for less at once."
            raise Unavailable(detail, code="search-too-long", retry_after=LONGEST) from None
