"""Connections with a switch, and a SQLite engine to try them on."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hub.core.sealing import AesGcmSealer
from hub.engines.sqlite import SqliteEngine
from tests.clock import ManualClock
from tests.contracts.engine_rig import Running

SEALER = AesGcmSealer(b"unit-test-seal-key-of-32-bytes!!")


class FullDisk(sqlite3.Connection):
    """A connection whose file may not grow while `full`: SQLite itself says SQLITE_FULL."""

    full = False

    def be_full(self, full: bool) -> None:
        pages = self.execute("PRAGMA page_count").fetchone()[0]
        self.execute(f"PRAGMA max_page_count = {pages if full else 1 << 30}")


class FailingSync(sqlite3.Connection):
    """A connection whose commit fails with `code` while there is one: as after a failed fsync, or on a full disk."""

    code: int | None = None

    def commit(self) -> None:
        if FailingSync.code is not None and self.in_transaction:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = FailingSync.code
            raise error
        super().commit()


class CountingCommits(sqlite3.Connection):
    """A connection that counts what it committed."""

    commits = 0

    def commit(self) -> None:
        CountingCommits.commits += 1
        super().commit()


@asynccontextmanager
async def running_sqlite(folder: Path, clock: ManualClock, **options: Any) -> AsyncIterator[Running]:
    """A started engine with these options, also after its restarts."""

    def make(folder: Path, clock: ManualClock) -> SqliteEngine:
        return SqliteEngine(folder, clock, SEALER, **options)

    running = await Running.start(make, folder, clock)
    try:
        yield running
    finally:
        await running.engine.stop()


def crash_image(folder: Path, to: Path) -> Path:
    """What a kill -9 at this moment would leave: the files as they are, without any closing."""
    to.mkdir(mode=0o700)
    for name in ("hub.db", "hub.db-wal"):
        if (folder / name).exists():
            shutil.copyfile(folder / name, to / name)
    return to
