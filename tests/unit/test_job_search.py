"""The engine finds exactly the jobs that the pure evaluator finds over their views."""

from __future__ import annotations

import random
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.core.sealing import AesGcmSealer
from hub.dialects.powerstore.job import row
from hub.engines.sqlite import SqliteEngine
from hub.engines.sqlite.rows import read_outcome
from hub.model.call import Call, CallSpec, CallState
from hub.model.errors import OutOfRange
from hub.model.ids import CallId, CallIds, Incarnation
from hub.model.job import USER, JobState, created, facets_of
from hub.model.job_shape import JOB, SHAPES, UNFILTERED
from hub.model.outcome import Ending, Outcome
from hub.model.query import Form, Query, apply
from hub.model.query_text import parse_query
from hub.ports.engine import CallQuery, End
from tests.clock import ManualClock

pytestmark = pytest.mark.anyio

ME = Incarnation("me")
TARGETS = ["/volume_group/g1", "/volume_group/name:Gold", "/volume", "/volume/v1/clone", "/Volume/v2", "/local_user/1"]
METHODS = ["PATCH", "POST", "DELETE", "PUT"]
OUTCOMES = [
    Outcome(Ending.ANSWERED, 200), Outcome(Ending.ANSWERED, 200, b'{"id": "x"}', native={"status": 201}),
    Outcome(Ending.DEVICE_ERROR, 409), Outcome(Ending.DEVICE_ERROR, 422, b'{"messages": []}'),
    Outcome(Ending.REFUSED, 404), Outcome(Ending.UNREACHABLE, 502), Outcome(Ending.UNKNOWN, 504),
    Outcome(Ending.CANCELLED, 409), Outcome(Ending.TIMED_OUT, 504),
    Outcome(Ending.DEVICE_ERROR, 500, error="UNRECOVERABLE_FAILED"),
]  # fmt: skip


def engine_on(folder: Path, clock: ManualClock) -> SqliteEngine:
    return SqliteEngine(folder, clock, AesGcmSealer(bytes(32)))


def data_file(folder: Path) -> Path:
    [file] = [file for file in folder.iterdir() if file.suffix in (".db", ".sqlite", ".sqlite3")]
    return file


def call(ids: CallIds, at: datetime, luck: random.Random, device: str = "array", account: str = "acme") -> Call:
    method = luck.choice(METHODS)
    spec = CallSpec(
        account=account, application="shop", ref="r", device=device, method=method, target=luck.choice(TARGETS),
        channel="shop/default", dialect="powerstore", payload=luck.choice([b"", b'{"name": "gold"}', b"{"]),
        echo=luck.choice([{}, {USER: "admin"}, {USER: "Admin"}]),
    )  # fmt: skip
    second = timedelta(seconds=1)
    return Call(
        id=ids.make(at), spec=spec, adapter="http", address=device, lane=device, idempotent=False, accepted_at=at,
        expires_at=at + second, timeout=second, deadline=at + 2 * second, job=facets_of(spec),
    )  # fmt: skip


async def filled(engine: SqliteEngine, luck: random.Random, count: int) -> list[CallState]:
    """Jobs in every state on one array, and others that must not be found."""
    ids, at = CallIds(), datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    mine: list[CallId] = []
    for _ in range(count):
        at += timedelta(microseconds=luck.choice([0, 1, 999_999, 5_000_000]))
        each = call(ids, at, luck)
        others = [call(ids, at, luck, "other"), call(ids, at, luck, "array", "other")]
        others.append(replace(call(ids, at, luck), job=None))
        stage = luck.choice(["accepted", "sent", "waiting", "done", "done", "done"])
        await engine.journal.accept([each, *others], ME, [each.id] if stage in ("sent", "waiting") else [])
        if stage == "waiting":
            await engine.journal.checkpoint(each.id, ME, b"note")
        if stage == "done":
            outcome, ended = luck.choice(OUTCOMES), at + timedelta(seconds=luck.randrange(3))
            await engine.journal.finish(End(each.id, outcome, ended, made=created(each.spec, outcome)))
        mine.append(each.id)
    return [state for state in [await engine.journal.get(id) for id in mine] if state is not None]


def parameters(luck: random.Random, rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """A query that asks for something."""
    askable = [a for a in SHAPES[JOB].values() if not a.related and a.name not in UNFILTERED]

    def comparison() -> tuple[str, str]:
        attribute = luck.choice(askable)
        values = [row[attribute.name] for row in rows if row[attribute.name] is not None] or ["x"]
        value = str(luck.choice(values))
        if attribute.form is Form.NUMBER and not value.isdigit():
            value = "0"
        if attribute.form is Form.MOMENT and value == "x":
            value = "2026-02-03T04:05:10+00:00"
        operator = luck.choice(["eq", "neq", "gt", "gte", "lt", "lte", "in", "is", "ilike"])
        if operator == "is":
            value = "null"
        elif operator == "in":
            value = f"({value})"
        elif operator == "ilike":
            if attribute.form in (Form.NUMBER, Form.MOMENT):
                operator = "eq"
            else:
                value = luck.choice([value.upper(), value[:3] + "*", "*" + value[-2:], "*" + value[1:4] + "*"])
        if luck.random() < 0.3:
            value = value.swapcase() if operator in ("eq", "in") and attribute.form is Form.WORD else value
        negation = luck.choice(["", "", "not."])
        return attribute.name, f"{negation}{operator}.{value}"

    asked = []
    for _ in range(luck.randrange(3)):
        if luck.random() < 0.4:
            inner = ",".join(".".join(comparison()) for _ in range(luck.randrange(1, 4)))
            asked.append((luck.choice(["and", "or", "not.or"]), f"({inner})"))
        else:
            asked.append(comparison())
    if luck.random() < 0.5:
        names = luck.sample([a.name for a in askable], luck.randrange(1, 3))
        asked.append(("order", ",".join(name + luck.choice(["", ".desc", ".asc"]) for name in names)))
    return [*asked, ("limit", str(luck.choice([1, 3, 100]))), ("offset", str(luck.choice([0, 0, 2])))]


async def test_the_engine_finds_what_the_evaluator_finds(tmp_path: Path, clock: ManualClock) -> None:
    luck = random.Random(20260203)
    engine = engine_on(tmp_path, clock)
    await engine.start(lambda events: None)
    try:
        rows = [row(state) for state in await filled(engine, luck, 60)]
        matched = 0
        for _ in range(400):
            asked = parameters(luck, rows)
            query = parse_query(asked, SHAPES, JOB, unfiltered=UNFILTERED)
            try:
                wanted, place = apply(query, rows)
            except OutOfRange:
                with pytest.raises(OutOfRange):
                    await engine.journal.jobs("acme", "array", query)
                continue
            page = await engine.journal.jobs("acme", "array", query)
            assert page.place == place, asked
            assert [state.call.id for state in page.states] == [each["id"] for each in wanted], asked
            matched += len(wanted)
        assert matched > 500
        for asked in ([("resource_name", "not.in.()")], [("resource_name", "in.()")], [("id", "in.()")]):
            query = parse_query(asked, SHAPES, JOB)
            page = await engine.journal.jobs("acme", "array", query)
            assert page.place == apply(query, rows)[1], asked
    finally:
        await engine.stop()


async def test_jobs_that_ended_before_an_upgrade_are_found_by_their_state_with_few_outcomes_read(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_on(tmp_path, clock)
    await engine.start(lambda events: None)
    states = await filled(engine, random.Random(7), 60)
    await engine.stop()
    older = sqlite3.connect(data_file(tmp_path), isolation_level=None)
    older.execute("UPDATE job SET state = NULL, status = NULL")
    older.close()
    read: list[Ending] = []

    def reading(body: bytes) -> Outcome:
        outcome = read_outcome(body)
        read.append(outcome.ending)
        return outcome

    monkeypatch.setattr("hub.engines.sqlite.jobs.read_outcome", reading)
    again = engine_on(tmp_path, clock)
    await again.start(lambda events: None)
    try:
        for name, words in ("state", JobState), ("phase", [state.phase for state in JobState]):
            for word in words:
                asked = [(name, f"eq.{word.value if isinstance(word, JobState) else word}")]
                query = parse_query(asked, SHAPES, JOB)
                page = await again.journal.jobs("acme", "array", query)
                assert page.place == apply(query, [row(state) for state in states])[1], asked
        assert set(read) == {Ending.DEVICE_ERROR}
    finally:
        await again.stop()


async def test_what_is_forgotten_is_no_job_any_more(tmp_path: Path, clock: ManualClock) -> None:
    engine = engine_on(tmp_path, clock)
    await engine.start(lambda events: None)
    try:
        states = await filled(engine, random.Random(7), 20)
        open_ = [state for state in states if state.outcome is None]
        await engine.journal.forget(datetime(2100, 1, 1, tzinfo=UTC), 1000)
        page = await engine.journal.jobs("acme", "array", Query())

        assert 0 < len(open_) < len(states)
        assert [state.call.id for state in page.states] == [state.call.id for state in open_]
        assert page.place.total == len(open_)
    finally:
        await engine.stop()


async def test_a_data_file_from_before_there_were_jobs_is_taken(tmp_path: Path, clock: ManualClock) -> None:
    engine = engine_on(tmp_path, clock)
    await engine.start(lambda events: None)
    await filled(engine, random.Random(7), 3)
    await engine.stop()
    older = sqlite3.connect(data_file(tmp_path))
    older.executescript(
        "DROP TABLE job; DROP TABLE command; ALTER TABLE reader DROP COLUMN used_at;"
        "ALTER TABLE call DROP COLUMN maybe_sent; PRAGMA user_version = 1;"
    )
    older.close()

    again = engine_on(tmp_path, clock)
    await again.start(lambda events: None)
    try:
        assert (await again.journal.jobs("acme", "array", Query())).place.total == 0
        assert len(await again.journal.list(CallQuery("acme", device="array"))) > 0
    finally:
        await again.stop()
