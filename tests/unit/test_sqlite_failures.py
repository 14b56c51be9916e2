"""Disks that are full and syncs that fail: nothing is promised, nothing is half-written."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from hub.engines.sqlite.engine import SqliteEngine
from hub.model.call import Stage
from hub.model.delivery import DeliveryDraft
from hub.model.errors import Damaged, RevisionConflict, StorageFailed, StorageFull
from hub.model.record import Kind, Record
from tests.clock import ManualClock
from tests.contracts.engine_rig import MINE, Running, note, numbers
from tests.unit.sqlite_rig import CountingCommits, FailingSync, FullDisk, crash_image, running_sqlite

pytestmark = pytest.mark.anyio

HUGE = 1 << 60


@pytest.fixture(autouse=True)
def quiet_disks() -> Iterator[None]:
    yield
    FailingSync.code = None


def connection_of(run: Running) -> Any:
    """The engine's writing connection, as the writer's open call made it."""
    assert isinstance(run.engine, SqliteEngine)
    return run.engine.writing_connection


async def all_failures(run: Running, count: int) -> list[BaseException]:
    """Accept `count` calls together; what each was told."""
    failures: list[BaseException] = []

    async def accept() -> None:
        try:
            await run.engine.journal.accept([run.call(payload=b"x" * 8000)], MINE)
        except StorageFailed as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(accept)
    return failures


async def test_a_full_disk_is_told_to_everybody_of_the_batch_and_passes(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock, connection=FullDisk) as run:
        call = await run.sent()
        await run.append(note(1))
        connection_of(run).be_full(True)
        failures = await all_failures(run, 30)
        assert {type(error) for error in failures} == {StorageFull} and len(failures) == 30
        assert run.engine.health()["state"] == "up", "there may be room again"

        connection_of(run).be_full(False)
        assert await run.finish(call, note(2)) == 2, "an offset of the failed commit was lost or skipped"
        assert numbers(await run.events()) == [1, 2]
        assert len([state async for page in run.engine.journal.open_calls() for state in page]) == 0


async def test_an_end_that_meets_a_full_disk_can_be_tried_again(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock, connection=FullDisk) as run:
        call = await run.sent()
        connection_of(run).be_full(True)
        with pytest.raises(StorageFull):
            await run.finish(call, *[note(number, fill=b"x" * 4000) for number in range(10)])
        assert (await run.state(call)).stage is Stage.SENT
        assert await run.engine.log.channels() == [], "half of the end was written"
        assert run.told == []

        connection_of(run).be_full(False)
        assert await run.finish(call, note(1)) == 1
        assert [numbers(batch) for batch in run.told] == [[1]]


async def test_a_commit_that_fails_at_its_end_takes_every_offset_back(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock, connection=FailingSync) as run:
        await run.append(note(1))
        call = await run.sent()
        FailingSync.code = sqlite3.SQLITE_FULL
        for failing in (
            lambda: run.engine.log.delete("shop/default"),
            lambda: run.append(note(2), note(3)),
            lambda: run.append(note(4, "shop/other")),
            lambda: run.finish(call, note(5)),
        ):
            with pytest.raises(StorageFull):
                await failing()
        FailingSync.code = None

        assert [event.offset for event in await run.append(note(6), note(7, "shop/other"))] == [2, 1]
        assert await run.finish(call, note(8)) == 3
        assert numbers(await run.events()) == [1, 6, 8]
        assert numbers(await run.events("shop/other")) == [7]
        assert [numbers(batch) for batch in run.told] == [[1], [6, 7], [8]]
        assert await run.engine.journal.forget(clock.now() - timedelta(days=1), 1) == 0, "one call ended, not two"


async def test_after_a_failed_sync_nothing_is_written_until_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock, connection=FailingSync) as run:
        kept = await run.sent()
        FailingSync.code = sqlite3.SQLITE_IOERR_FSYNC
        failures = await all_failures(run, 5)
        assert len(failures) == 5 and not any(isinstance(error, StorageFull) for error in failures)
        health = run.engine.health()
        assert health["state"] == "failed" and "I/O" in health["reason"]

        FailingSync.code = None
        with pytest.raises(StorageFailed):
            await run.finish(kept, note(1))
        assert (await run.state(kept)).stage is Stage.SENT, "reading goes on"
        assert run.told == []

        await run.restart()
        assert run.engine.health()["state"] == "up"
        assert await run.finish(kept, note(1)) == 1


async def test_below_the_disk_floor_new_work_is_refused_and_old_work_ends(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock) as run:
        call, other = await run.sent(), await run.sent()
        await run.finish(other, note(1))
        await run.engine.stop()
        run.engine = SqliteEngine(run.folder, clock, NoSealer(), disk_floor=HUGE)
        await run.engine.start(run.hear)
        for refused in (
            run.accepted, lambda: run.append(note(2)), lambda: run.engine.log.open("shop/new", "acme"),
            lambda: run.engine.directory.put([Record(Kind.KEY, "k", "acme", {})]),
        ):
            with pytest.raises(StorageFull):
                await refused()
        assert run.engine.health()["full"]
        assert await run.finish(call, note(3)) == 2
        clock.advance(10)
        assert await run.engine.log.trim(clock.now(), 100, 1 << 30) == 2
        assert await run.engine.journal.forget(clock.now(), 0) == 2


async def test_an_event_that_only_a_delivery_kept_goes_with_it(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock) as run:
        rows = [DeliveryDraft(endpoint, "acme", 0, clock.now()) for endpoint in ("a", "b", "c")]
        await run.finish(await run.sent(), note(1), deliveries=rows)
        await run.finish(await run.sent(), note(2), deliveries=rows[:1])
        [first, second, third, only] = await run.engine.outbox.due(clock.now(), 10)
        clock.advance(8 * 86_400)
        assert await run.engine.log.trim(clock.now(), 0, 0) == 2

        def stored() -> int:
            count: int = connection_of(run).execute("SELECT count(*) FROM event").fetchone()[0]
            return count

        assert stored() == 2
        await run.engine.outbox.delivered(only.id)
        assert stored() == 1
        await run.engine.outbox.delivered(first.id)
        await run.engine.outbox.failed(second.id, "gone", None)
        await run.engine.outbox.delivered(third.id)
        assert stored() == 1, "a dead letter can still be replayed"
        clock.advance(8 * 86_400)
        await run.engine.journal.forget(clock.now() - timedelta(days=7), 1000)
        assert stored() == 0


class NoSealer:
    """For records without secrets."""

    def seal(self, plain: bytes, context: bytes) -> bytes:
        raise AssertionError("nothing to seal here")

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        raise AssertionError("nothing to unseal here")


async def test_room_that_was_freed_goes_back_to_a_full_disk(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock) as run:
        await run.append(*[note(number, fill=b"x" * 4000) for number in range(400)])
        await run.engine.stop()
        before = (run.folder / "hub.db").stat().st_size
        clock.advance(10)
        run.engine = SqliteEngine(run.folder, clock, NoSealer(), disk_floor=HUGE)
        await run.engine.start(run.hear)
        assert await run.engine.log.trim(clock.now(), 100, 1 << 30, limit=500) == 400
        await run.engine.stop()
        assert (run.folder / "hub.db").stat().st_size < before / 2


async def test_a_data_folder_that_vanishes_fails_the_engine(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock) as run:
        os.rename(run.folder, tmp_path / "elsewhere")
        with pytest.raises(StorageFailed):
            await run.accepted()
        assert run.engine.health()["state"] == "failed"
        os.rename(tmp_path / "elsewhere", run.folder)


async def test_damage_that_a_reader_meets_stops_the_writing(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock) as run:
        await run.append(*[note(number, fill=b"x" * 3000) for number in range(500)])
        await run.restart()
        with (run.folder / "hub.db").open("r+b") as file:
            # Not a byte of the payloads but the heads of pages: from the tenth page on all are worth nothing.
            for page in range(10, 450):
                file.seek(page * 4096)
                file.write(b"\xee" * 64)
        with pytest.raises(Damaged):
            await run.events()
        assert run.engine.health()["state"] == "failed"
        with pytest.raises(StorageFailed):
            await run.append(note(1))


async def test_an_engine_that_waits_too_long_in_line_refuses_new_work(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock, waiting=3) as run:
        call = await run.sent()
        failures = await all_failures(run, 10)
        assert len(failures) == 7, "three may wait"
        assert await run.finish(call) == 0
        assert await all_failures(run, 3) == []


async def test_writes_that_wait_share_one_commit(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock, connection=CountingCommits) as run:
        await run.accepted()
        CountingCommits.commits = 0
        await all_failures(run, 500)
        assert 1 <= CountingCommits.commits <= 50, "each write had a commit of its own"


async def test_a_refused_write_leaves_its_neighbours_in_their_common_commit(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock, connection=CountingCommits) as run:
        await run.engine.directory.put([Record(Kind.KEY, "k", "acme", {})])
        CountingCommits.commits = 0
        refused = []

        async def conflict() -> None:
            try:
                await run.engine.directory.put([Record(Kind.KEY, "k", "acme", {})])
            except RevisionConflict as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(conflict)
                group.start_soon(run.accepted)
        assert len(refused) == 100
        assert CountingCommits.commits <= 40, "the refusals drove the others apart"


async def test_a_batch_is_bounded(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock, connection=CountingCommits, batch=10) as run:
        CountingCommits.commits = 0
        await all_failures(run, 100)
        assert CountingCommits.commits >= 10


async def test_the_connection_syncs_each_commit(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock) as run:
        connection = connection_of(run)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
        assert run.engine.health()["durability"] == "disk"


STEPS = 10


class Workload:
    """A few writes of each kind, in order; after each it knows what must survive a crash."""

    def __init__(self, run: Running) -> None:
        self.run = run
        self.calls = [run.call() for _ in range(4)]

    async def step(self, number: int) -> None:
        journal, [a, b, c, d] = self.run.engine.journal, [call.id for call in self.calls]
        now = self.run.clock.now()
        steps = [
            lambda: journal.accept(self.calls, MINE, [a, b]),
            lambda: journal.claim([c], MINE, now),
            lambda: journal.checkpoint(b, MINE, b"job-1"),
            lambda: self.run.finish(a, note(0), note(1)),
            lambda: journal.release([c], MINE, park=True),
            lambda: self.run.append(note(2)),
            lambda: self.run.finish(b, note(3)),
            lambda: self.run.engine.directory.put([Record(Kind.KEY, "k", "acme", {})], [note(4)]),
            lambda: self.run.finish(d, note(5)),
            lambda: self.run.engine.log.trim(now, 2, 1 << 30),
        ]
        assert len(steps) == STEPS
        await steps[number]()

    async def picture(self) -> list[object]:
        engine = self.run.engine
        channels = await engine.log.channels()
        return [
            [await engine.journal.get(call.id) for call in self.calls],
            channels, [await self.run.events(info.name) for info in channels],
            await engine.directory.list(Kind.KEY),
            [page async for page in engine.journal.open_calls()],
        ]


async def test_a_crash_after_any_write_loses_nothing_and_leaves_no_half(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock) as run:
        work, expected = Workload(run), []
        for number in range(STEPS):
            await work.step(number)
            expected.append(await work.picture())
            crash_image(run.folder, tmp_path / f"after-{number}")
    for number in range(STEPS):
        async with running_sqlite(tmp_path / f"after-{number}", clock) as revived:
            work.run = revived
            assert await work.picture() == expected[number], f"after write {number}"
            for rest in range(number + 1, STEPS):
                await work.step(rest)
            channels = (await work.picture())[1]
            assert [info.head for info in channels] == [info.head for info in expected[-1][1]]  # type: ignore[union-attr]


async def test_a_log_cut_off_anywhere_keeps_whole_commits_only(tmp_path: Path, clock: ManualClock) -> None:
    async with running_sqlite(tmp_path / "d", clock) as run:
        calls = [await run.sent() for _ in range(6)]
        for number, call in enumerate(calls):
            await run.finish(call, note(number), note(number))
        image = crash_image(run.folder, tmp_path / "image")
    log = (image / "hub.db-wal").read_bytes()
    for cut in range(0, len(log), len(log) // 25 + 7):
        torn = tmp_path / f"torn-{cut}"
        crash_image(image, torn)
        (torn / "hub.db-wal").write_bytes(log[:cut])
        async with running_sqlite(torn, clock) as revived:
            states = [state for call in calls if (state := await revived.engine.journal.get(call))]
            done = [state for state in states if state.stage is Stage.DONE]
            events = await revived.events() if done else []
            assert numbers(events) == [number for number in range(len(done)) for _ in range(2)]
            assert [state.offset for state in done] == [1 + 2 * number for number in range(len(done))]


def test_the_doubles_speak_like_sqlite(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None, factory=FullDisk)
    connection.execute("CREATE TABLE t (b BLOB)")
    connection.be_full(True)  # type: ignore[attr-defined]
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("INSERT INTO t VALUES (?)", (b"x" * 100_000,))
    assert caught.value.sqlite_errorcode == sqlite3.SQLITE_FULL
    connection.close()
