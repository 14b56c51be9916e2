"""The data folder: private, locked, and refused plainly when it is damaged."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from pathlib import Path

import pytest

from hub.core.sealing import AesGcmSealer
from hub.engines.sqlite import SqliteEngine, sql
from hub.model.errors import Damaged, HubError, Locked, StorageFailed
from hub.model.event import EventDraft, EventKind
from hub.model.record import Kind, Record
from tests.clock import ManualClock
from tests.contracts.engine_rig import CHANNEL, OWNERS, note
from tests.unit.sqlite_rig import SEALER, crash_image, running_sqlite

pytestmark = pytest.mark.anyio


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def start(folder: Path, clock: ManualClock, **options: int) -> None:
    """Start and stop: raises what the start raises."""
    engine = SqliteEngine(folder, clock, SEALER, **options)
    await engine.start(lambda events: None)
    await engine.stop()


async def filled(folder: Path, clock: ManualClock) -> Path:
    """A folder with a few hundred events and calls, closed in order."""
    async with running_sqlite(folder, clock) as run:
        await run.append(*[note(number, fill=b"x" * 500) for number in range(300)])
        for _ in range(100):
            await run.finish(await run.sent(), note(1))
    return folder / "hub.db"


async def test_all_files_are_for_the_owner_only(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "deep" / "data", clock) as run:
        await run.accepted()
        assert mode(run.folder) == 0o700
        modes = {path.name: mode(path) for path in run.folder.iterdir()}
        assert {"hub.db", "hub.db-wal", "hub.db-shm", "hub.lock"} <= set(modes)
        assert set(modes.values()) == {0o600}


async def test_files_that_others_could_read_are_closed_to_them(tmp_path: Path, clock: ManualClock) -> None:
    file = await filled(tmp_path / "d", clock)
    file.chmod(0o644)
    async with running_sqlite(tmp_path / "d", clock) as run:
        await run.accepted()
        assert {mode(path) for path in run.folder.iterdir()} == {0o600}


async def test_no_secret_can_be_read_in_the_files(tmp_path: Path, clock: ManualClock) -> None:
    secret = b"correct-horse-battery-staple"
    async with running_sqlite(tmp_path / "d", clock) as run:
        [record] = await run.engine.directory.put([Record(Kind.WEBHOOK, "w", "acme", {"name": "visible"}, secret)])
        await run.engine.directory.put([Record(Kind.WEBHOOK, "w", "acme", {"name": "visible"}, secret + b"2", 1)])
        bytes_open = b"".join(path.read_bytes() for path in run.folder.iterdir())
    bytes_closed = (tmp_path / "d" / "hub.db").read_bytes()
    assert b"visible" in bytes_open and b"visible" in bytes_closed, "the search looks in the right place"
    assert secret not in bytes_open and secret not in bytes_closed
    assert record.secret == secret


async def test_another_seal_key_opens_no_secret(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock) as run:
        await run.engine.directory.put([Record(Kind.WEBHOOK, "w", "acme", {}, b"secret")])
    engine = SqliteEngine(tmp_path / "d", clock, AesGcmSealer(b"another-key" * 2 + b"0123456789"))
    await engine.start(lambda events: None)
    try:
        with pytest.raises(Damaged, match="seal"):
            await engine.directory.list(Kind.WEBHOOK)
    finally:
        await engine.stop()


async def test_the_lock_names_who_holds_the_folder(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock):
        with pytest.raises(Locked, match=str(os.getpid())):
            await start(tmp_path / "d", clock)
    await start(tmp_path / "d", clock)


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageFailed, match="cannot be used"):
        await start(tmp_path / "file" / "data", clock)


async def test_a_creation_that_was_cut_short_is_begun_again(tmp_path: Path, clock: ManualClock) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "hub.db.new").write_bytes(b"SQLite format 3\x00 and no more")
    (folder / "hub.db.new-journal").write_bytes(b"x")
    async with running_sqlite(folder, clock) as run:
        await run.accepted()
    assert sorted(path.name for path in folder.iterdir()) == ["hub.db", "hub.lock"]


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "hub.db").write_bytes(b"once upon a time " * 1000)
    with pytest.raises(Damaged, match="not a database"):
        await start(tmp_path, clock)


async def test_an_empty_file_is_refused_and_not_begun_anew(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "hub.db").touch()
    with pytest.raises(Damaged, match="cut off"):
        await start(tmp_path, clock)
    assert (tmp_path / "hub.db").stat().st_size == 0


async def test_a_log_without_its_file_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock) as run:
        await run.accepted()
        image = crash_image(run.folder, tmp_path / "image")
    (image / "hub.db").unlink()
    with pytest.raises(Damaged, match="missing"):
        await start(image, clock)
    assert (image / "hub.db-wal").exists(), "the remains are for the operator to look at"


async def test_a_database_of_another_program_is_refused_untouched(tmp_path: Path, clock: ManualClock) -> None:
    connection = sqlite3.connect(tmp_path / "hub.db")
    connection.execute("CREATE TABLE call (mine TEXT)")
    connection.commit()
    connection.close()
    before = (tmp_path / "hub.db").read_bytes()
    with pytest.raises(Damaged, match="not a hub's"):
        await start(tmp_path, clock)
    assert (tmp_path / "hub.db").read_bytes() == before


async def test_a_file_of_a_newer_version_is_refused_untouched(tmp_path: Path, clock: ManualClock) -> None:
    file = await filled(tmp_path / "d", clock)
    connection = sqlite3.connect(file)
    connection.execute(f"PRAGMA user_version = {len(sql.schema_steps()) + 1}")
    connection.commit()
    connection.close()
    with pytest.raises(Damaged, match="newer version"):
        await start(tmp_path / "d", clock)


@pytest.mark.parametrize("whole_check_below", [1 << 30, 0], ids=["small file", "large file"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9, 0.999])
async def test_a_file_that_was_cut_off_is_refused(
    tmp_path: Path, clock: ManualClock, part: float, whole_check_below: int
) -> None:
    file = await filled(tmp_path / "d", clock)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(Damaged):
        await start(tmp_path / "d", clock, whole_check_below=whole_check_below)


async def test_a_damaged_page_is_refused_wherever_it_is(tmp_path: Path, clock: ManualClock) -> None:
    file = await filled(tmp_path / "d", clock)
    whole = file.read_bytes()
    for page in range(0, len(whole) // 4096, 3):
        damaged = bytearray(whole)
        damaged[page * 4096 : page * 4096 + 64] = b"\xff" * 64
        file.write_bytes(damaged)
        with pytest.raises(Damaged):
            await start(tmp_path / "d", clock)
    file.write_bytes(whole)
    await start(tmp_path / "d", clock)


async def test_a_flipped_bit_never_gives_a_traceback(tmp_path: Path, clock: ManualClock) -> None:
    # A bit inside a payload may pass the check of the structure; then reading it is right or says Damaged.
    file = await filled(tmp_path / "d", clock)
    whole = file.read_bytes()
    refused = 0
    for place in range(16, len(whole), len(whole) // 60):
        damaged = bytearray(whole)
        damaged[place] ^= 0x40
        file.write_bytes(damaged)
        try:
            async with running_sqlite(tmp_path / "d", clock) as run:
                await run.events()
                [page async for page in run.engine.journal.open_calls()]
        except HubError:
            refused += 1
    assert refused > 0


async def test_data_from_before_the_last_crash_is_carried_over_once(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock) as run:
        call = await run.sent()
        image = crash_image(run.folder, tmp_path / "image")
    assert (image / "hub.db-wal").stat().st_size > 0
    for _ in range(2):
        async with running_sqlite(image, clock, whole_check_below=0) as run:
            assert (await run.state(call)).attempt == 1


async def test_events_are_not_shared_between_those_who_wrote_and_those_who_read(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with running_sqlite(tmp_path / "d", clock) as run:
        draft = EventDraft(CHANNEL, EventKind.PROGRESS, {"list": [1]})
        [told] = await run.engine.log.append([draft], OWNERS)
        [read] = await run.events()
        assert read == told and read.body is not told.body


def test_every_statement_of_the_files_is_valid_and_named_once() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for _, script in sql.schema_steps():
        connection.executescript(script)
    for group in ("journal", "log", "outbox", "directory"):
        statements = sql.load(group)
        assert statements
        for name, statement in statements.items():
            if statement.startswith("PRAGMA"):
                continue
            values = dict.fromkeys(re.findall(r":([a-z_]+)", statement), 1)
            wanted: object = values or ["[]"] * statement.count("?")
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", wanted).fetchall()  # type: ignore[arg-type]
            assert plan is not None, name
    connection.close()


def test_every_statement_is_used() -> None:
    folder = Path(sql.__file__).parent.parent
    code = "".join(path.read_text() for path in folder.rglob("*.py"))
    for group in ("database", "journal", "log", "outbox", "directory"):
        for name in sql.load(group):
            assert f'"{name}"' in code, f"{group}.sql: nobody uses {name}"


@pytest.mark.parametrize("name", ["get", "claim", "finish", "release", "get_mark", "open_calls", "old_calls"])
def test_the_hot_statements_never_read_a_whole_table(name: str) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for _, script in sql.schema_steps():
        connection.executescript(script)
    statement = sql.load("journal")[name]
    values: object = {"before": 1, "now": 1, "limit": 1} if ":" in statement else [1] * statement.count("?")
    plan = " / ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values))  # type: ignore[arg-type]
    connection.close()
    scans = [part for part in plan.split(" / ") if part.startswith("SCAN")]
    # old_calls asks for the first young call: a walk from the oldest on that stops there.
    assert scans == (["SCAN call"] if name == "old_calls" else []), plan
