"""Opening the data file: make it, check it, bring its schema up to date, or say plainly why not.

No statement about calls or channels is made here. What cannot be trusted is refused with Damaged before anything is
written; a half-made file is made again.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hub.engines.sqlite import jobs, sql
from hub.engines.sqlite.folder import DataFolder
from hub.model.errors import Damaged, StorageFailed, StorageFull

_SQL = sql.load("database")
_STATEMENTS_KEPT = 256

OURS = 0x61687562
_FULL = 2


def connect(file: Path, kind: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    """A connection in autocommit mode: transactions are begun and ended by us alone."""
    return sqlite3.connect(
        file, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS_KEPT, factory=kind
    )


def open_writer(folder: DataFolder, kind: type[sqlite3.Connection], whole_check_below: int) -> sqlite3.Connection:
    """The one writing connection, on a checked file with the newest schema.

    Raises Damaged for a file that is not a hub's, is cut off, damaged, or of a newer version; StorageFailed (or
    StorageFull) when the disk does not let us begin.
    """
    steps = sql.schema_steps()
    try:
        if not folder.has_data():
            _create(folder, steps)
        folder.keep_private()
        connection = connect(folder.file, kind)
        try:
            _check(connection, folder.file, len(steps), whole_check_below)
            _bring_up_to_date(connection, steps)
            _settle_writer(connection)
        except BaseException:
            connection.close()
            raise
        folder.keep_private()
        return connection
    except sqlite3.Error as error:
        raise refusal(error, folder.file) from error
    except OSError as error:
        raise StorageFailed(f"the data folder {folder.path} cannot be used: {error.strerror}") from error


def open_reader(file: Path) -> sqlite3.Connection:
    """A connection that only reads; every page it sees is of one commit while a transaction is open."""
    connection = connect(file)
    for name in ("patience", "reader_cache", "memory_sorting", "read_only"):
        connection.execute(_SQL[name])
    jobs.register(connection)
    return connection


def refusal(error: sqlite3.Error, file: Path) -> Damaged | StorageFailed:
    """What an error of SQLite while opening means to the operator."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Damaged(f"the data file {file} is damaged ({error}); the hub does not start on it")
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(f"no room on the disk for {file}")
    if isinstance(error, sqlite3.OperationalError) and code == sqlite3.SQLITE_ERROR:
        # A table or column of ours is missing though the version says it should be there.
        return Damaged(f"the data file {file} is damaged ({error}); the hub does not start on it")
    return StorageFailed(f"the data file {file} cannot be used ({error})")


def _create(folder: DataFolder, steps: list[tuple[int, str]]) -> None:
    connection = connect(folder.clear_unfinished())
    try:
        for name in ("new_file", "mark_ours", "full_sync"):
            connection.execute(_SQL[name])
        for _, script in steps:
            connection.executescript(script)
        connection.execute(_SQL["wal"])
    finally:
        connection.close()
    folder.put_in_place()


def _check(connection: sqlite3.Connection, file: Path, newest: int, whole_check_below: int) -> None:
    with file.open("rb") as raw:
        head = raw.read(100)
    if len(head) < 100 or head[:16] != b"SQLite format 3\x00":
        raise Damaged(f"the data file {file} is not a database; the hub does not start on it")
    connection.execute(_SQL["patience"])
    if connection.execute(_SQL["whose"]).fetchone()[0] != OURS:
        raise Damaged(f"the data file {file} is not a hub's; the hub does not start on it")
    version = connection.execute(_SQL["version"]).fetchone()[0]
    if version > newest:
        raise Damaged(
            f"the data file {file} was made by a newer version (schema {version}; this one knows {newest})"
        )
    if file.stat().st_size <= whole_check_below:
        found = connection.execute(_SQL["check_whole"]).fetchone()[0]
        if found != "ok":
            raise Damaged(f"the data file {file} is damaged ({found}); the hub does not start on it")
    else:
        _check_ends(connection, file)


def _check_ends(connection: sqlite3.Connection, file: Path) -> None:
    """For a file too large to be read whole at start: its length, its small tables, both ends of the large ones.

    A damaged page in the middle is found when it is read; the engine is `failed` from then on.
    """
    # Only after the log was carried over does the file itself have to be as long as it says.
    connection.execute(_SQL["carry_over"]).fetchall()
    pages = connection.execute(_SQL["pages"]).fetchone()[0]
    if file.stat().st_size < pages * connection.execute(_SQL["page_bytes"]).fetchone()[0]:
        raise Damaged(f"the data file {file} was cut off; the hub does not start on it")
    for name in ("check_records", "check_channels", "check_readers", "check_marks"):
        found = connection.execute(_SQL[name]).fetchone()[0]
        if found != "ok":
            raise Damaged(f"the data file {file} is damaged ({found}); the hub does not start on it")
    for name in ("calls_ends", "asked_ends", "ended_ends", "events_ends"):
        connection.execute(_SQL[name]).fetchall()


def _bring_up_to_date(connection: sqlite3.Connection, steps: list[tuple[int, str]]) -> None:
    version = connection.execute(_SQL["version"]).fetchone()[0]
    for number, script in steps:
        if number > version:
            connection.executescript(script)


def _settle_writer(connection: sqlite3.Connection) -> None:
    names = ("wal", "full_sync", "auto_checkpoint", "wal_file_limit", "foreign_keys", "patience", "writer_cache",
             "memory_sorting", "wipe_when_free")
    for name in names:
        connection.execute(_SQL[name])


def synchronous(connection: sqlite3.Connection) -> str:
    """What the connection really promises, asked rather than assumed: `disk`, or the weaker word of the file."""
    journal = connection.execute(_SQL["asked_journal"]).fetchone()[0]
    level = connection.execute(_SQL["asked_sync"]).fetchone()[0]
    return "disk" if level >= _FULL else f"{journal}, synchronous {level}"
