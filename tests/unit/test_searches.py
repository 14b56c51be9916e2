"""Searches cost what their askers ask for: a dear one is cut, and nobody waits for it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest

from hub.dialects.powerstore.job import row
from hub.engines.sqlite import SqliteEngine, jobs, listings
from hub.engines.sqlite.listings import Listings
from hub.model.errors import Damaged, HubError, Unavailable
from hub.model.ids import CallIds
from hub.model.job_shape import JOB, SHAPES, UNFILTERED
from hub.model.query import apply
from hub.model.query_text import parse_query
from tests.clock import ManualClock
from tests.trips.powerstore_rig import serving
from tests.unit.sqlite_rig import SEALER
from tests.unit.test_job_search import ME, call, data_file, engine_on, filled

pytestmark = pytest.mark.anyio

ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
OLDER = (
    "DROP INDEX job_by_start; ALTER TABLE job DROP COLUMN started; ALTER TABLE job DROP COLUMN state;"
    "ALTER TABLE job DROP COLUMN status; PRAGMA user_version = 6;"
)
# Each is found by what the older file does not say in a column of its own.
OF_ENDS = [
    {"state": "eq.FAILED"}, {"state": "eq.UNRECOVERABLE_FAILED"}, {"phase": "in.(Completed,Unrecoverable_Failed)"},
    {"state": "in.(QUEUED,IN_PROGRESS)"}, {"phase": "neq.Completed", "user": "eq.admin"}, {"response_status": "eq.422"},
    {"response_status": "is.null"}, {"order": "response_status.desc,start_time.desc"}, {"order": "state,start_time"},
    {"start_time": "gte.2026-02-03T04:05:30Z"},
]  # fmt: skip


def endless(connection: sqlite3.Connection) -> object:
    return connection.execute(ENDLESS).fetchone()


def short(connection: sqlite3.Connection) -> object:
    return connection.execute("SELECT 7").fetchone()[0]


class DearTime(ManualClock):
    """Every look at it costs a second."""

    def monotonic(self) -> float:
        self._mono += 1
        return self._mono


class Held:
    """A search without an end. Once it is on a thread for the `tries`th time, it waits there to be let go."""

    def __init__(self, tries: int = 1) -> None:
        self.reached = asyncio.Event()
        self.go = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._left = tries

    def __call__(self, connection: sqlite3.Connection) -> object:
        self._left -= 1
        if not self._left:
            self._loop.call_soon_threadsafe(self.reached.set)
            self.go.wait(40)  # a test that fails ends, too
        return endless(connection)


def undamaged(reason: str) -> None:
    raise AssertionError(reason)


@asynccontextmanager
async def searching(folder: Path, clock: ManualClock) -> AsyncIterator[Listings]:
    file = folder / "some.db"
    sqlite3.connect(file).close()
    found = Listings(clock, undamaged)
    found.start(file)
    try:
        with anyio.fail_after(30):
            yield found
    finally:
        await found.stop()


async def refused(found: Listings, work: Callable[[sqlite3.Connection], object], code: str) -> None:
    with pytest.raises(Unavailable) as told:
        await found.read(work)
    assert told.value.code == code and told.value.retry_after


async def test_a_search_that_takes_too_long_is_cut_and_may_be_asked_again_later(tmp_path: Path) -> None:
    async with searching(tmp_path, DearTime()) as found:
        await refused(found, endless, "search-too-long")
        assert await found.read(short) == 7


async def test_a_cheap_search_waits_for_no_dear_one(tmp_path: Path) -> None:
    async with searching(tmp_path, DearTime()) as found, anyio.create_task_group() as tasks:
        dear = Held(tries=2)
        tasks.start_soon(refused, found, dear, "search-too-long")
        await dear.reached.wait()
        assert await found.read(short) == 7
        dear.go.set()


async def test_more_dear_searches_than_may_wait_are_refused_at_once(tmp_path: Path) -> None:
    async with searching(tmp_path, DearTime()) as found:
        dear = Held(tries=2)
        searches = [asyncio.ensure_future(refused(found, dear, "search-too-long"))]
        await dear.reached.wait()
        rest = [asyncio.ensure_future(found.read(endless)) for _ in range(listings.MOST_DEAR)]
        [first], waiting = await asyncio.wait(rest, return_when=asyncio.FIRST_COMPLETED)
        told = first.exception()
        assert isinstance(told, Unavailable) and told.code == "too-many-searches"
        assert await found.read(short) == 7
        dear.go.set()
        codes = [getattr(error, "code", error) for error in await asyncio.gather(*waiting, return_exceptions=True)]
        assert codes == ["search-too-long"] * (listings.MOST_DEAR - 1)
        await asyncio.gather(*searches)


async def test_a_search_whose_asker_is_gone_is_cut(tmp_path: Path, clock: ManualClock) -> None:
    async with searching(tmp_path, clock) as found:
        dear = Held()
        asker = asyncio.ensure_future(found.read(dear))
        await dear.reached.wait()
        asker.cancel()
        await asyncio.wait([asker])
        dear.go.set()
        assert await found.read(short) == 7


async def test_the_end_of_the_hub_waits_for_no_search(tmp_path: Path, clock: ManualClock) -> None:
    async with searching(tmp_path, clock) as found:
        dear = Held()
        asker = asyncio.ensure_future(found.read(dear))
        await dear.reached.wait()
        stopping = asyncio.ensure_future(found.stop())
        await asyncio.sleep(0)
        dear.go.set()
        await stopping
        with pytest.raises(HubError):
            await asker


async def test_what_an_adapter_looks_up_waits_for_no_search(tmp_path: Path, clock: ManualClock) -> None:
    engine = SqliteEngine(tmp_path, clock, SEALER)
    await engine.start(lambda events: None)
    cheap = Held()
    asker = asyncio.ensure_future(engine.listings.read(cheap))
    try:
        await cheap.reached.wait()
        with anyio.fail_after(30):
            assert [page async for page in engine.journal.under_way_since("http", clock.now())] == []
    finally:
        asker.cancel()
        cheap.go.set()
        await engine.stop()


async def test_a_search_of_many_conditions_looks_at_no_outcome(tmp_path: Path, clock: ManualClock) -> None:
    engine = engine_on(tmp_path, clock)
    await engine.start(lambda events: None)
    await filled(engine, random.Random(7), 30)
    await engine.stop()
    with closing(sqlite3.connect(data_file(tmp_path))) as spoiled:
        spoiled.execute("UPDATE ended SET body = x'c1'")
        spoiled.commit()
    again = engine_on(tmp_path, clock)
    await again.start(lambda events: None)
    try:
        asked = ",".join(f"{name}.eq.{value}" for value in range(600, 720) for name in ("response_status", "state"))
        query = parse_query([("or", f"({asked})"), ("order", "response_status,phase")], SHAPES, JOB)
        assert (await again.journal.jobs("acme", "array", query)).place.total == 0
        with pytest.raises(Damaged):
            await again.journal.jobs("acme", "array", parse_query([("state", "eq.COMPLETED")], SHAPES, JOB))
    finally:
        await again.stop()


async def test_jobs_of_a_data_file_from_before_their_ends_were_written_beside_them_are_found(
    tmp_path: Path, clock: ManualClock
) -> None:
    engine = engine_on(tmp_path, clock)
    await engine.start(lambda events: None)
    rows = [row(state) for state in await filled(engine, random.Random(20260204), 60)]
    await engine.stop()
    with closing(sqlite3.connect(data_file(tmp_path))) as older:
        older.executescript(OLDER)
    again = engine_on(tmp_path, clock)
    await again.start(lambda events: None)
    try:
        for asked in OF_ENDS:
            query = parse_query(list(asked.items()), SHAPES, JOB, unfiltered=UNFILTERED)
            wanted, place = apply(query, rows)
            page = await again.journal.jobs("acme", "array", query)
            assert [state.call.id for state in page.states] == [each["id"] for each in wanted], asked
            assert page.place == place and page.states, asked
    finally:
        await again.stop()


@pytest.mark.parametrize("order", ["start_time", "start_time.desc"])
async def test_the_newest_and_the_oldest_jobs_are_found_without_a_look_at_all_others(
    tmp_path: Path, clock: ManualClock, order: str
) -> None:
    engine = engine_on(tmp_path, clock)
    await engine.start(lambda events: None)
    await engine.stop()
    asked: list[str] = []
    query = parse_query([("order", order), ("limit", "20")], SHAPES, JOB)
    with closing(sqlite3.connect(data_file(tmp_path))) as connection:
        jobs.register(connection)
        connection.set_trace_callback(asked.append)
        connection.execute(
            "INSERT INTO job (call, account, device, kind, action, user) VALUES (1, 'acme', 'array', 'k', 'a', 'u')"
        )
        jobs.search(connection, "acme", "array", query)
        connection.set_trace_callback(None)
        [search] = [text for text in asked if "ORDER BY j.started" in text or "ORDER BY (j.started" in text]
        plan = [line[3] for line in connection.execute(f"EXPLAIN QUERY PLAN {search}")]

    assert any("job_by_start" in line for line in plan), plan
    assert not any(line == "USE TEMP B-TREE FOR ORDER BY" for line in plan), plan


class DearSearches(ManualClock):
    """Time stands still, but for whoever searches: each look costs a minute there."""

    looks = 0

    def monotonic(self) -> float:
        if threading.current_thread() is threading.main_thread():
            return super().monotonic()
        self.looks += 1
        return super().monotonic() + 60 * self.looks


async def test_the_array_front_tells_of_a_search_that_was_cut_in_its_own_words(tmp_path: Path) -> None:
    clock, luck, ids = DearSearches(), random.Random(7), CallIds()
    async with serving(tmp_path, clock=clock) as hub:
        many = [call(ids, clock.now(), luck, "array-1") for _ in range(200)]
        await hub.hub.engine.journal.accept(many, ME)
        asked = ",".join(f"response_status.eq.{value}" for value in range(600, 800))
        dear, cheap = await hub.ask("GET", f"job?or=({asked})"), await hub.ask("GET", "job?limit=1")

    assert (dear.status, dear.headers["Retry-After"]) == (503, "3")
    assert "search" in dear.json["messages"][0]["message_l10n"]
    assert (cheap.status, len(cheap.json)) == (206, 1)
