"""The SQLite engine as one value: its groups, its threads, its life, its health."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub.engines.sqlite.bell import BellHere
from hub.engines.sqlite.channel_log import SqliteChannelLog
from hub.engines.sqlite.database import open_writer, synchronous
from hub.engines.sqlite.directory import SqliteDirectory
from hub.engines.sqlite.folder import DataFolder
from hub.engines.sqlite.journal import SqliteJournal
from hub.engines.sqlite.listings import Listings
from hub.engines.sqlite.outbox import SqliteOutbox
from hub.engines.sqlite.readers import Readers
from hub.engines.sqlite.writer import Writer
from hub.ports.clock import Clock
from hub.ports.engine import OnCommit, Sealer

DISK_FLOOR = 64 * 1024 * 1024


class SqliteEngine:
    """All that the hub may not lose, in one folder that one process holds.

    `batch` bounds how many writes share a commit, `waiting` how many may wait for theirs (new work is
    refused beyond it), `readers` the reading threads (two more search, one walks through the journal),
    `disk_floor` the free bytes below which new work is refused with StorageFull. A file up to
    `whole_check_below` bytes is checked page by page at start; `connection` is the class of the writing connection.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        sealer: Sealer,
        *,
        batch: int = 1000,
        waiting: int = 50_000,
        readers: int = 2,
        disk_floor: int = DISK_FLOOR,
        whole_check_below: int = 512 * 1024 * 1024,
        connection: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> None:
        self._folder = DataFolder(folder)
        self._connection = connection
        self._whole_check_below = whole_check_below
        self._writer = Writer(batch, waiting, self._folder.room, disk_floor)
        self._readers = Readers(readers, waiting, "hub-reader", clock, self._writer.give_up)
        self._walks = Readers(1, 1000, "hub-walk", clock, self._writer.give_up)
        self.listings = Listings(clock, self._writer.give_up)
        self._durability = "none"
        self.writing_connection: sqlite3.Connection | None = None
        self.journal = SqliteJournal(self._writer, self._readers, self._walks, self.listings, clock)
        self.log = SqliteChannelLog(self._writer, self._readers, clock)
        self.outbox = SqliteOutbox(self._writer, self._readers, clock)
        self.directory = SqliteDirectory(self._writer, self._readers, clock, sealer)
        self.bell = BellHere()

    async def start(self, on_commit: OnCommit) -> None:
        """Take the folder, check the file, bring the schema up to date; raises Locked, Damaged, StorageFailed.

        An engine starts once; after `stop` another one is made.
        """
        self._folder.take()
        try:
            await self._writer.start(self._open, on_commit)
            self._readers.start(self._folder.file)
            self._walks.start(self._folder.file)
            self.listings.start(self._folder.file)
        except BaseException:
            await self._writer.stop()
            self._folder.give_back()
            raise

    async def stop(self) -> None:
        """Write and answer what waits, then close; harmless a second time."""
        await self._writer.stop()
        await self._readers.stop()
        await self._walks.stop()
        await self.listings.stop()
        self._folder.give_back()

    def health(self) -> Mapping[str, Any]:
        """`state` is `failed` after a failed sync or a damaged page; `full` says that new work is refused for room."""
        failure = self._writer.failure
        told: dict[str, Any] = {
            "state": "up" if failure is None else "failed",
            "durability": self._durability,
            "waiting": self._writer.waiting,
            "full": self._writer.low_on_disk,
        }
        if failure is not None:
            told["reason"] = failure
        return told

    def _open(self) -> sqlite3.Connection:
        connection = open_writer(self._folder, self._connection, self._whole_check_below)
        self._durability = synchronous(connection)
        self.writing_connection = connection
        return connection
