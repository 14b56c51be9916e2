"""HTTP upstreams below a whole core: order, waiting for one that is away, jobs over restarts, lost answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.http import lost
from adapters.http.adapter import HttpAdapter, create
from adapters.http.double import CALL_ID, Heard, Server
from hub.core.hub import Hub
from hub.core.intake import Taken
from hub.engines.sqlite import SqliteEngine
from hub.model.call import Call, CallSpec, CallState, Stage
from hub.model.device import Device, Presence
from hub.model.event import EventKind, Position
from hub.model.outcome import Ending
from hub.model.record import Kind, Record
from hub.ports.clock import SystemClock
from tests.core_rig import PRINCIPAL, SEAL

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


class Trip:
    """A running core with the device `array` behind the HTTP adapter."""

    def __init__(self, hub: Hub, adapter: HttpAdapter) -> None:
        self.hub = hub
        self.adapter = adapter

    async def submit(self, **changes: Any) -> Call:
        given: dict[str, Any] = {
            "account": "acme", "application": "shop", "ref": "r", "device": "array", "method": "PATCH",
            "target": "/volume/7", "channel": "shop/default", "dialect": "native", "payload": b"{}",
        }  # fmt: skip
        (verdict,) = (await self.hub.intake.submit(PRINCIPAL, [CallSpec(**{**given, **changes})])).verdicts
        assert isinstance(verdict, Taken), verdict
        return verdict.call

    async def state(self, call: Call) -> CallState:
        state = await self.hub.engine.journal.get(call.id)
        assert state is not None
        return state

    async def until(self, call: Call, stage: Stage) -> CallState:
        """The call once it stands at a stage; every look waits for the journal."""
        async with asyncio.timeout(10):
            while (state := await self.state(call)).stage is not stage:
                pass
        return state

    async def ended(self, call: Call) -> CallState:
        async with asyncio.timeout(20):
            state = await self.hub.calls.wait_end(call.id, self.hub.clock.monotonic() + 30)
        assert state is not None and state.outcome is not None
        return state

    async def completions(self) -> list[str]:
        channel = await self.hub.channels.open("shop/default", "acme")
        page = await self.hub.channels.read(channel, Position(channel.epoch, 0), 10_000)
        return [event.body["call_id"] for event in page.events if event.kind is EventKind.COMPLETION]


@asynccontextmanager
async def trip(folder: Path, server: Server, **settings: Any) -> AsyncIterator[Trip]:
    """A hub on the folder's data; leave it and enter it again for a restart."""
    clock = SystemClock()
    server.clock = clock
    table = {
        "jobs": "powerstore", "interval": 0.2, "call_id": CALL_ID, "upstreams": {"up": {"url": server.url}}, **settings
    }  # fmt: skip
    adapter = create(table)
    hub = Hub(SqliteEngine(folder / "data", clock, SEAL), {"http": (adapter, {})}, clock)

    async def declare(hub: Hub) -> None:
        await hub.directory.put(Record(Kind.ACCOUNT, "acme", "acme", {"name": "Acme"}))
        await hub.directory.put(Record(Kind.APPLICATION, "shop", "acme", {"name": "Shop", "account": "acme"}))
        if hub.directory.device("acme", "array") is None:
            await hub.directory.put_device(Device("array", "acme", "http", "up", type="array"))

    async with hub.running(declare):
        yield Trip(hub, adapter)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.open()
    yield made
    await made.close()


async def test_calls_reach_a_device_in_the_order_of_their_submission(tmp_path: Path, server: Server) -> None:
    async with trip(tmp_path, server, jobs="none") as t:
        calls = [await t.submit(method="POST", payload=b"%d" % n) for n in range(20)]
        states = [await t.ended(call) for call in calls]

        assert [s.outcome.payload for s in states if s.outcome] == [b"%d" % n for n in range(20)]
        assert server.executed == [call.id for call in calls]


async def test_a_device_that_answers_is_online(tmp_path: Path, server: Server) -> None:
    async with trip(tmp_path, server, jobs="none") as t:
        await t.ended(await t.submit(method="GET"))
        device = t.hub.directory.device("acme", "array")
        assert device is not None
        async with asyncio.timeout(5):
            while device.presence is not Presence.ONLINE:
                await t.hub.engine.journal.park([])
                device = t.hub.directory.device("acme", "array")
                assert device is not None


@pytest.mark.parametrize(
    ("jobs", "seconds"), [("powerstore", 86_400), ("hub", 86_400), ("location", 86_400), ("none", 30)]
)
async def test_who_says_nothing_else_gives_a_job_a_day_and_a_plain_device_half_a_minute(
    tmp_path: Path, server: Server, jobs: str, seconds: int
) -> None:
    async with trip(tmp_path, server, jobs=jobs) as t:
        call = await t.submit()
        mine = await t.submit(timeout=timedelta(seconds=7))

        assert (call.timeout, call.deadline) == (
            timedelta(seconds=seconds), call.accepted_at + timedelta(seconds=2 * seconds)
        )  # fmt: skip
        assert mine.timeout == timedelta(seconds=7)


async def test_jobs_hold_no_lane(tmp_path: Path, server: Server) -> None:
    server.length = HOUR
    async with trip(tmp_path, server) as t:
        calls = [await t.submit(target=f"/volume/{n}") for n in range(30)]
        for call in calls:
            await t.until(call, Stage.WAITING)
        assert server.executed == [call.id for call in calls]
        for job in server.jobs:
            server.end(job)

        for call in calls:
            assert (await t.ended(call)).outcome.ending is Ending.ANSWERED  # type: ignore[union-attr]
        assert sorted(await t.completions()) == sorted(call.id for call in calls)


async def test_a_thousand_open_jobs_hold_no_lane_no_attempt_and_no_timer_of_one(
    tmp_path: Path, server: Server
) -> None:
    server.length = HOUR
    async with trip(tmp_path, server, inflight=50) as t:
        short = {"timeout": timedelta(seconds=20), "expiry": HOUR}
        calls = await asyncio.gather(*(t.submit(target=f"/volume/{n}", **short) for n in range(1000)))
        for call in calls:
            await t.until(call, Stage.WAITING)

        assert t.hub.dispatch.under_way == 0
        assert t.adapter.window("up") == 50
        # Only the end of the call itself bounds it now, and that is an hour away.
        now = t.hub.clock.monotonic()
        assert min(t.hub.dispatch.tickets[call.id].attempt_deadline for call in calls) > now + 3000
        guards = [t.hub.dispatch.tickets[call.id].guard for call in calls]
        assert min(guard.when() for guard in guards if guard is not None) > now + 3000  # type: ignore[attr-defined]
        assert (await t.hub.calls.wait_end((await t.submit(method="GET")).id, now + 10)) is not None


async def test_a_change_waits_for_an_upstream_that_is_away(tmp_path: Path, server: Server) -> None:
    async with trip(tmp_path, server, failures=1) as t:
        await server.close()
        first, second = await t.submit(), await t.submit(target="/volume/8")
        await t.until(first, Stage.PARKED)
        await server.open()

        assert (await t.ended(first)).outcome.status == 200  # type: ignore[union-attr]
        assert (await t.ended(second)).outcome.status == 200  # type: ignore[union-attr]
        assert server.executed == [first.id, second.id]


async def test_a_plain_device_that_is_away_is_told_at_once(tmp_path: Path, server: Server) -> None:
    async with trip(tmp_path, server, jobs="none") as t:
        await server.close()
        outcome = (await t.ended(await t.submit(method="POST"))).outcome

        assert outcome is not None
        assert (outcome.status, outcome.error) == (502, "UNREACHABLE")


async def test_a_restart_goes_on_asking_and_submits_nothing(tmp_path: Path, server: Server) -> None:
    server.length = HOUR
    async with trip(tmp_path, server) as t:
        call = await t.submit()
        await t.until(call, Stage.WAITING)
    (job,) = server.jobs
    async with trip(tmp_path, server) as t:
        await server.until(lambda: len(server.heard) > 1)
        server.end(job, response_status="200", response_body={"n": 1})
        outcome = (await t.ended(call)).outcome

        assert outcome is not None
        assert json.loads(outcome.payload) == {"n": 1}
        assert server.executed == [call.id]
        assert await t.completions() == [call.id]


def _loses(server: Server, *, taken: bool) -> Callable[[Heard], Any]:
    """Takes changes (or not) and says nothing of it."""

    async def script(heard: Heard) -> bool:
        if heard.method == "GET":
            return False
        server.executed.append(heard.call_id)
        if taken:
            server.make(heard, HOUR)
        return True

    return script


async def test_a_crash_between_the_202_and_the_note_finds_the_job_again(tmp_path: Path, server: Server) -> None:
    server.script = _loses(server, taken=True)
    async with trip(tmp_path, server) as t:
        call = await t.submit()
        await server.until(lambda: bool(server.jobs))
        assert (await t.state(call)).stage is Stage.SENT
    async with trip(tmp_path, server) as t:
        assert (await t.until(call, Stage.WAITING)).note is not None
        server.end(*server.jobs)
        outcome = (await t.ended(call)).outcome

        assert outcome is not None
        assert outcome.ending is Ending.ANSWERED
        assert server.executed == [call.id]


async def test_a_job_that_was_found_again_is_waited_for_beyond_the_time_of_an_attempt(
    tmp_path: Path, server: Server
) -> None:
    server.script = _loses(server, taken=True)
    async with trip(tmp_path, server) as t:
        call = await t.submit(timeout=timedelta(seconds=3), expiry=HOUR)
        await server.until(lambda: bool(server.jobs))
    async with trip(tmp_path, server) as t:
        await t.until(call, Stage.WAITING)
        state = await t.hub.calls.wait_end(call.id, t.hub.clock.monotonic() + 3.5)
        assert state is None or state.stage is Stage.WAITING
        server.end(*server.jobs)

        assert (await t.ended(call)).outcome.ending is Ending.ANSWERED  # type: ignore[union-attr]


async def test_after_a_restart_the_job_of_a_call_that_has_ended_is_not_taken_for_another_ones(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost, "LOOKS", 1)
    server.length = timedelta(0)
    async with trip(tmp_path, server) as t:
        assert (await t.ended(await t.submit())).outcome.ending is Ending.ANSWERED  # type: ignore[union-attr]

    async def cut(heard: Heard) -> bool:
        if heard.method != "GET":
            heard.cut()
        return heard.method != "GET"

    server.script = cut
    async with trip(tmp_path, server) as t:
        # As old as the search goes back: the job is in what it finds.
        outcome = (await t.ended(await t.submit())).outcome

        assert outcome is not None
        assert any("start_time" in heard.query for heard in server.heard)
        assert (outcome.ending, outcome.error) == (Ending.UNKNOWN, "OUTCOME_UNKNOWN")
        assert len(server.jobs) == 1


async def test_a_crash_in_the_middle_of_a_submit_that_left_no_job_is_told_as_unknown(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost, "LOOKS", 1)
    server.script = _loses(server, taken=False)
    async with trip(tmp_path, server) as t:
        call = await t.submit()
        await server.until(lambda: bool(server.executed))
    async with trip(tmp_path, server) as t:
        outcome = (await t.ended(call)).outcome

        assert outcome is not None
        assert (outcome.ending, outcome.error) == (Ending.UNKNOWN, "OUTCOME_UNKNOWN")
        assert server.executed == [call.id]


async def test_what_was_sent_to_a_plain_device_before_a_restart_is_repeated_only_where_that_does_no_harm(
    tmp_path: Path, server: Server
) -> None:
    server.script = _loses(server, taken=False)
    async with trip(tmp_path, server, jobs="none", inflight=2) as t:
        put = await t.submit(method="PUT", timeout=timedelta(seconds=2), expiry=timedelta(seconds=20))
        post = await t.submit(method="POST", timeout=timedelta(seconds=2), expiry=timedelta(seconds=20))
        await server.until(lambda: len(server.executed) == 2)
    server.script = None
    async with trip(tmp_path, server, jobs="none", inflight=2) as t:
        assert (await t.ended(put)).outcome.status == 200  # type: ignore[union-attr]
        assert (await t.ended(post)).outcome.error == "OUTCOME_UNKNOWN"  # type: ignore[union-attr]
        assert sorted(server.executed) == sorted([put.id, put.id, post.id])
