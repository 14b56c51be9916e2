"""Reading threads, each with its own connection; the event loop never touches the file.

What waits is bounded: beyond it a read is refused with StorageFailed instead of piling up.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hub.engines.sqlite import sql
from hub.engines.sqlite.database import open_reader
from hub.model.errors import Damaged, HubError, StorageFailed
from hub.ports.clock import Clock

T = TypeVar("T")

_BEGIN = sql.load("database")["begin_read"]

Read = Callable[[sqlite3.Connection], T]

_STEPS = 10_000
"""Steps of SQLite, about a millisecond of them, between two looks at the time."""


class CutShort(Exception):
    """A read took longer than it may, or was under way when the threads were to end."""


class Readers:
    """A fixed number of threads that read, from `start` to `stop`."""

    def __init__(self, threads: int, waiting: int, name: str, clock: Clock, damaged: Callable[[str], None]) -> None:
        self._count = threads
        self._room_for = waiting
        self._name = name
        self._clock = clock
        self._damaged = damaged
        self._queue: queue.SimpleQueue[tuple[Read[Any], asyncio.Future[Any], float | None] | None]
        self._queue = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._waiting = 0

    def start(self, file: Path) -> None:
        """Begin; each thread opens its connection with its first read."""
        self._loop = asyncio.get_running_loop()
        self._left = self._count
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._threads = [
            threading.Thread(target=self._run, args=(file,), name=f"{self._name}-{number}", daemon=True)
            for number in range(self._count)
        ]
        for thread in self._threads:
            thread.start()

    async def stop(self) -> None:
        """Answer what waits, then end the threads; harmless a second time."""
        threads, self._threads = self._threads, []
        if not threads:
            return
        for _ in threads:
            self._queue.put(None)
        await asyncio.shield(self._stopped)
        for thread in threads:
            thread.join()

    @property
    def full(self) -> bool:
        """Whether as much waits as may."""
        return self._waiting >= self._room_for

    async def read(self, work: Read[T], within: float | None = None) -> T:
        """Run `work` in one read transaction, so that all it sees is of one commit. With `within` it is cut when it
        takes more seconds than that, when nobody waits for it any more, and when the threads are to end.

        Raises what `work` raises; CutShort; StorageFailed for errors of the file and when too much waits, Damaged for
        a damaged file.
        """
        if not self._threads:
            raise StorageFailed("the storage is closed")
        if self.full:
            raise StorageFailed(f"{self._waiting} reads wait already")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        try:
            self._queue.put((work, future, within))
            return await future
        finally:
            self._waiting -= 1

    def _run(self, file: Path) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while (asked := self._queue.get()) is not None:
                work, future, within = asked
                # A reader that went away (its request was cancelled) costs no look at the file.
                if future.cancelled():
                    continue
                try:
                    if connection is None:
                        connection = open_reader(file)
                    connection.set_progress_handler(*self._bound(future, within))
                    result = _transacted(connection, work)
                except sqlite3.Error as error:
                    self._tell(_fail, future, self._meaning(error))
                except Exception as error:
                    self._tell(_fail, future, error)
                else:
                    self._tell(_resolve, future, result)
        finally:
            if connection is not None:
                connection.close()
            self._tell(self._one_less)

    def _bound(self, future: asyncio.Future[Any], within: float | None) -> tuple[Callable[[], int] | None, int]:
        """What SQLite asks from time to time whether a read is to be cut, and how often; None for no bound."""
        if within is None:
            return None, 0
        until = self._clock.monotonic() + within
        return lambda: future.cancelled() or not self._threads or self._clock.monotonic() > until, _STEPS

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            # The loop was closed without stop(): nobody is left to tell.
            return

    def _meaning(self, error: sqlite3.Error) -> HubError | CutShort:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            return CutShort()
        if not code and isinstance(error, sqlite3.OperationalError):
            return Damaged(f"a stored row cannot be read ({error})")  # a text that is not UTF-8
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            self._damaged(f"the data file is damaged ({error}); nothing is written until a restart")
            return Damaged(f"the data file is damaged ({error})")
        return StorageFailed(f"the data could not be read ({error})")

    def _one_less(self) -> None:
        self._left -= 1
        if not self._left and not self._stopped.done():
            self._stopped.set_result(None)


def _transacted(connection: sqlite3.Connection, work: Read[T]) -> T:
    connection.execute(_BEGIN)
    try:
        return work(connection)
    finally:
        connection.rollback()


def _resolve(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
