"""The writer thread: takes everything that waits, makes one transaction of it, commits once, answers all at once.

The event loop only appends to a queue. After each commit one call-back on the loop hands over the commit's events and
then wakes the waiters, so that events are told in commit order and before any answer. A commit that fails promises
nothing to anybody; after a failed sync nothing is written any more, because what is on the disk is unknown.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hub.engines.sqlite import sql
from hub.engines.sqlite.heads import Heads
from hub.engines.sqlite.operation import Operation, Transaction
from hub.model.errors import HubError, StorageFailed, StorageFull
from hub.model.event import Event
from hub.ports.engine import OnCommit

T = TypeVar("T")

Open = Callable[[], sqlite3.Connection]

_BEGIN = sql.load("database")["begin_write"]
_GIVE_BACK = sql.load("database")["give_back_pages"]
_COUNT_ENDED = sql.load("journal")["count_ended"]

# After these the file cannot be trusted to hold what it was told, or to tell what it holds.
_FATAL = {
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
}
# After these nothing of the transaction is left, but the next one may do better.
_PASSING = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM}


class Writer:
    """Owns the writing connection and its thread from `start` to `stop`."""

    def __init__(self, batch: int, waiting: int, room: Callable[[], int], disk_floor: int) -> None:
        self._batch = batch
        self._room_for = waiting
        self._room = room
        self._disk_floor = disk_floor
        self._queue: queue.SimpleQueue[Operation[Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._waiting = 0
        self._taking = False
        self.failure: str | None = None
        self.low_on_disk = False

    async def start(self, open_connection: Open, on_commit: OnCommit) -> sqlite3.Connection:
        """Open on the writer's own thread and begin; raises what `open_connection` raises."""
        self._loop = asyncio.get_running_loop()
        self._on_commit = on_commit
        ready: asyncio.Future[sqlite3.Connection] = self._loop.create_future()
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(open_connection, ready), name="hub-writer", daemon=True)
        self._thread.start()
        try:
            connection = await asyncio.shield(ready)
        except BaseException:
            self._queue.put(None)
            raise
        self._taking = True
        return connection

    async def stop(self) -> None:
        """Write what waits, close, end the thread; harmless a second time."""
        if self._thread is None:
            return
        if self._taking:
            self._taking = False
            self._queue.put(None)
        await asyncio.shield(self._stopped)
        self._thread.join()
        self._thread = None

    def submit(self, operation: Operation[T]) -> asyncio.Future[T]:
        """Queue a write; the future is resolved after its commit. Raises StorageFailed when it cannot be taken.

        A waiter that goes away changes nothing: what was submitted is written.
        """
        if self.failure is not None:
            raise StorageFailed(self.failure)
        if not self._taking:
            raise StorageFailed("the storage is closed")
        if self._waiting >= self._room_for and operation.growing:
            raise StorageFailed(f"{self._waiting} writes wait already")
        self._waiting += 1
        operation.future = future = self._loop.create_future()
        operation.error = None
        self._queue.put(operation)
        return future

    def give_up(self, reason: str) -> None:
        """Write nothing any more, on any thread's word that the file cannot be trusted."""
        if self.failure is None:
            self.failure = reason

    @property
    def waiting(self) -> int:
        """Writes submitted and not answered."""
        return self._waiting

    # On the writer's thread from here on.

    def _run(self, open_connection: Open, ready: asyncio.Future[sqlite3.Connection]) -> None:
        try:
            connection = open_connection()
        except BaseException as error:  # whatever it is, it belongs to the caller of start
            self._tell(_fail, ready, error)
            self._tell(_resolve, self._stopped, None)
            return
        try:
            cursor = connection.cursor()
            tx = Transaction(cursor, Heads(cursor))
            tx.ended = tx.ended_before = cursor.execute(_COUNT_ENDED).fetchone()[0]
        except sqlite3.Error as error:
            connection.close()
            self._tell(_fail, ready, StorageFailed(f"the calls cannot be counted ({error})"))
            self._tell(_resolve, self._stopped, None)
            return
        self._tell(_resolve, ready, connection)
        try:
            while operations := self._gather():
                self._write(connection, tx, operations)
        finally:
            connection.close()
            self._tell(_resolve, self._stopped, None)

    def _gather(self) -> list[Operation[Any]]:
        """Everything that waits, at most one batch; waits for the first; empty means stop."""
        first = self._queue.get()
        if first is None:
            return []
        operations = [first]
        try:
            while len(operations) < self._batch:
                following = self._queue.get_nowait()
                if following is None:
                    self._queue.put(None)
                    break
                operations.append(following)
        except queue.Empty:
            pass
        return operations

    def _write(self, connection: sqlite3.Connection, tx: Transaction, operations: list[Operation[Any]]) -> None:
        if self.failure is not None:
            self._settle([], operations, StorageFailed(self.failure))
            return
        try:
            self.low_on_disk = tx.low_on_disk = self._room() < self._disk_floor
        except OSError as error:
            self.give_up(f"the data folder is gone ({error.strerror}); nothing is written until a restart")
            self._settle([], operations, StorageFailed("the data folder is gone"))
            return
        try:
            connection.execute(_BEGIN)
            for operation in operations:
                if tx.low_on_disk and operation.growing:
                    operation.error = StorageFull("the disk is nearly full")
                    continue
                try:
                    operation.result = operation.apply(tx)
                except HubError as refused:
                    operation.error = refused
            tx.heads.flush()
        except Exception as error:
            self._take_back(connection, tx)
            failed = self._judge(error)
            if failed is None and len(operations) > 1:
                # One of them is at fault; alone, it spoils nobody else's commit.
                for operation in operations:
                    operation.error = None
                    self._write(connection, tx, [operation])
                return
            self._settle([], operations, failed or error)
            return
        try:
            connection.commit()
        except Exception as error:
            self._take_back(connection, tx)
            self._settle([], operations, self._judge(error) or StorageFailed(f"the commit failed ({error})"))
            return
        tx.keep()
        self._settle(tx.heads.keep(), operations, None)
        if tx.freed and tx.low_on_disk:
            self._give_back(connection)
        tx.freed = False

    def _give_back(self, connection: sqlite3.Connection) -> None:
        """Shrink the file by what was freed: on a full disk its free pages help nobody else, and so not us."""
        try:
            # A script, because only that runs the statement to its end; it cannot be part of a transaction.
            connection.executescript(_GIVE_BACK)
        except sqlite3.Error as error:
            self._judge(error)

    def _take_back(self, connection: sqlite3.Connection, tx: Transaction) -> None:
        tx.undo()
        try:
            connection.rollback()
        except sqlite3.Error as error:
            self.give_up(f"a failed write could not be taken back ({error})")

    def _judge(self, error: Exception) -> StorageFailed | None:
        """What an error means for the whole batch; None when it is the fault of one operation."""
        if self.failure is not None:
            return StorageFailed(self.failure)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF if isinstance(error, sqlite3.Error) else 0
        if code in _FATAL:
            self.give_up(f"the storage failed ({error}); nothing is written until a restart")
            return StorageFailed(self.failure or "")
        if code == sqlite3.SQLITE_FULL:
            return StorageFull(f"no room on the disk ({error})")
        if code in _PASSING:
            return StorageFailed(f"the write did not happen ({error})")
        return None

    def _settle(
        self, events: Sequence[Event], operations: Sequence[Operation[Any]], error: BaseException | None
    ) -> None:
        self._tell(self._answer, events, operations, error)

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            # The loop was closed without stop(): nobody is left to tell, and what was committed stays.
            self._taking = False

    # On the event loop again.

    def _answer(
        self, events: Sequence[Event], operations: Sequence[Operation[Any]], error: BaseException | None
    ) -> None:
        try:
            if events:
                self._on_commit(events)
        finally:
            self._waiting -= len(operations)
            for operation in operations:
                future = operation.future
                if future.done():
                    continue
                failed = error or operation.error
                if failed is None:
                    future.set_result(operation.result)
                else:
                    future.set_exception(failed)


def _resolve(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
