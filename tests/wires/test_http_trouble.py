"""What goes wrong at a job upstream, or with the hub's own disk, stays with the call that it concerns."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from adapters.http.double import Heard
from adapters.http.note import decoded
from adapters.http.sign_in import SignInRefused
from hub.model.errors import StorageFailed
from hub.ports.adapter import Delivery, DeviceTimeout, NotConnected
from tests.contracts.adapter_case import refused, within
from tests.wires.http_bench import Bench, bench
from tests.wires.test_http_lost import loses_the_answer, until_done

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def rows_with(b: Bench, bad: str, member: bytes, value: bytes) -> Any:
    """A script that answers for jobs, with one member of one job's row as told."""

    async def script(heard: Heard) -> bool:
        if heard.method != "GET":
            return False
        rows = []
        for job, kept in b.server.jobs.items():
            if job in heard.target:
                row = json.dumps(b.server._row(kept)).encode()
                rows.append(row.replace(b"{", b"{" + member + b":" + value + b",", 1) if job == bad else row)
        body = b"[" + b",".join(rows) + b"]" if "id" in heard.query else rows[0]
        await heard.answer(200, body, kind="application/json")
        return True

    return script


async def test_a_result_that_is_nested_too_deeply_ends_its_own_job_only() -> None:
    async with bench() as b:
        b.server.length = HOUR
        tasks = [await b.submitted() for _ in range(3)]
        bad = next(iter(b.server.jobs))
        for job in b.server.jobs:
            b.server.end(job)
        b.server.jobs[bad].row.pop("response_body")
        b.server.script = rows_with(b, bad, b'"response_body"', nested(1015))
        await b.pass_time(5)

        answers = await within(asyncio.gather(*tasks))
        # It is over, and well; only what it brought is not to be had.
        assert [(answer.status, answer.payload) for answer in answers] == [(204, b"")] * 3
        assert answers[0].native["omitted"] == "ANSWER_UNREADABLE"


@pytest.mark.parametrize(("member", "depth"), [(b'"id"', 1015), (b'"more"', 5000)])
async def test_a_row_that_cannot_be_read_holds_its_own_job_only(member: bytes, depth: int) -> None:
    async with bench() as b:
        b.server.length = HOUR
        tasks = [await b.submitted() for _ in range(6)]
        bad = next(iter(b.server.jobs))
        for job in b.server.jobs:
            b.server.end(job)
        b.server.script = rows_with(b, bad, member, nested(depth))
        await b.pass_time(10)

        assert [task.done() for task in tasks[1:]] == [True] * 5
        b.server.script = None
        await b.pass_time(20)
        assert (await within(tasks[0])).status == 204


async def test_whatever_happens_in_a_round_there_is_another(caplog: pytest.LogCaptureFixture) -> None:
    async with bench() as b:
        b.server.length = timedelta(seconds=1)
        task = await b.submitted()
        turn, broken = b.jobs._pace.turn, 0

        async def breaks_once() -> None:
            nonlocal broken
            broken += 1
            if broken == 1:
                raise RuntimeError("nobody thought of that")
            await turn()

        b.jobs._pace.turn = breaks_once
        await b.pass_time(5)

        assert (await within(task)).status == 204
        assert b.adapter.health()["state"] == "up"
        assert "nobody thought of that" in caplog.text


async def test_an_upstream_that_is_not_asked_any_more_is_down() -> None:
    async with bench() as b:
        (poller,) = b.ctx._tasks
        poller.cancel()
        await asyncio.gather(poller, return_exceptions=True)

        health = b.adapter.health()
        assert (health["state"], health["upstreams"]["array"]["state"]) == ("down", "down")


@pytest.mark.parametrize("secret", [KeyError("x"), OSError("gone"), b"\xff"])
async def test_a_secret_that_went_away_is_a_refused_sign_in(secret: Any) -> None:
    async with bench() as b:
        looked: Any = b.places[0].upstream.sign_in

        def look_up(reference: str) -> bytes:
            if isinstance(secret, Exception):
                raise secret
            return bytes(secret)

        looked._settings = looked._settings.__class__(**{**_fields(looked._settings), "token": "env:GONE"})
        looked._secret = look_up
        with pytest.raises(SignInRefused) as told:
            await b.call()
        assert told.value.delivery is Delivery.NOT_SENT
        assert b.server.heard == []


def _fields(settings: Any) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


@pytest.mark.parametrize("who", [0, 1])
async def test_a_sign_in_that_hangs_takes_no_call_beyond_its_deadline(who: int) -> None:
    async with bench({"user": "hub", "password": "secret", "sign_in": "login_session"}) as b:

        async def hang(heard: Heard) -> bool:
            return True

        b.server.script = hang
        deadlines = [b.clock.monotonic() + (5 if who == n else 3600) for n in range(2)]
        tasks = [b.begin(b.request(deadline=deadline)) for deadline in deadlines]
        await b.server.until(lambda: bool(b.server.heard))
        b.clock.advance(5)

        with pytest.raises(DeviceTimeout) as told:
            await within(tasks[who])
        assert told.value.delivery is Delivery.NOT_SENT
        assert not tasks[1 - who].done()
        tasks[1 - who].cancel()


async def test_an_estimate_that_is_past_does_not_hurry_anybody() -> None:
    async with bench() as b:
        b.server.length = HOUR
        task = await b.submitted()

        async def late(heard: Heard) -> bool:
            if heard.method != "GET":
                return False
            row = b.server._row(next(iter(b.server.jobs.values())))
            before = (b.clock.now() - timedelta(seconds=5)).isoformat()
            await heard.json(200, {**row, "estimated_completion_time": before})
            return True

        b.server.script = late
        await b.pass_time(60, 0.1)

        assert 5 <= len(b.asked()) <= 14
        task.cancel()


async def test_an_estimate_that_is_far_ahead_is_not_waited_for_blindly() -> None:
    async with bench(interval_most=10) as b:
        b.server.estimates, b.server.length = True, HOUR
        task = await b.submitted()
        await b.pass_time(62)

        assert 5 <= len(b.asked()) <= 8
        task.cancel()


async def test_a_job_is_kept_while_its_note_cannot_be_stored() -> None:
    async with bench() as b:
        b.server.length = HOUR
        stored, failures = b.ctx.checkpoint, 0

        async def full(call_id: str, note: bytes) -> float:
            nonlocal failures
            failures += 1
            if failures <= 3:
                raise StorageFailed("the disk is full")
            return await stored(call_id, note)

        b.ctx.checkpoint = full  # type: ignore[method-assign]
        request = b.request()
        task = b.begin(request)
        await b.server.until(lambda: bool(b.server.jobs))
        async with asyncio.timeout(5):
            while request.call_id not in b.ctx.checkpoints:
                b.clock.advance(0.5)
                await asyncio.sleep(0)
        (job,) = b.server.jobs
        assert decoded(b.ctx.checkpoints[request.call_id]).job == job
        b.server.end(job)
        await b.pass_time(15)

        assert (await within(task)).status == 204
        assert len(b.changes()) == 1


@pytest.mark.parametrize("error", [StorageFailed("full"), NotConnected("it has ended", delivery=Delivery.MAYBE)])
async def test_a_note_is_not_tried_beyond_the_end_of_its_call(error: Exception) -> None:
    async with bench() as b:
        b.server.length = HOUR
        tried = 0

        async def never(call_id: str, note: bytes) -> float:
            nonlocal tried
            tried += 1
            raise error

        b.ctx.checkpoint = never  # type: ignore[method-assign]
        task = b.begin(b.request(deadline=b.clock.monotonic() + 20))
        await b.server.until(lambda: bool(b.server.jobs))
        await until_done(b, task, 25)

        storage = isinstance(error, StorageFailed)
        told = ("TIMEOUT", Delivery.DELIVERED) if storage else ("NOT_CONNECTED", Delivery.MAYBE)
        await refused(task, *told)
        assert (tried > 1) is storage


@pytest.mark.parametrize(("status", "body"), [(502, b"<html>"), (504, b""), (500, b"<html>"), (500, b"{}")])
async def test_what_a_proxy_says_of_a_change_is_no_answer_to_it(status: int, body: bytes) -> None:
    async with bench() as b:

        async def proxy(heard: Heard) -> bool:
            if heard.method == "GET":
                return False
            b.server.make(heard, HOUR)
            await heard.answer(status, body)
            return True

        b.server.script = proxy
        request = b.request()
        task = b.begin(request)
        await b.server.until(lambda: bool(b.server.jobs))
        async with asyncio.timeout(5):
            while request.call_id not in b.ctx.checkpoints and not task.done():
                b.clock.advance(0.5)
                await asyncio.sleep(0)
        assert not task.done()
        b.server.end(*b.server.jobs)
        await b.pass_time(15)

        assert (await within(task)).status == 204
        assert len(b.changes()) == 1


async def test_an_error_in_the_upstreams_own_words_is_final() -> None:
    async with bench() as b:

        async def fail(heard: Heard) -> bool:
            await heard.json(500, {"messages": [{"code": "0x1"}]})
            return True

        b.server.script = fail

        assert (await b.call()).status == 500
        assert len(b.server.heard) == 1


async def test_a_clock_that_is_behind_is_known_before_a_job_is_looked_for() -> None:
    async with bench() as b:
        b.server.ahead = -HOUR
        cut = loses_the_answer(b)

        async def behind(heard: Heard) -> bool:
            dealt = await cut(heard)
            for kept in b.server.jobs.values():
                kept.facets = {**kept.facets, "start_time": (b.clock.now() - HOUR).isoformat()}
            return bool(dealt)

        b.server.script = behind
        request = b.request()
        task = b.begin(request)
        await b.server.until(lambda: bool(b.changes()))
        async with asyncio.timeout(5):
            while request.call_id not in b.ctx.checkpoints and not task.done():
                b.clock.advance(0.5)
                for _ in range(50):
                    await asyncio.sleep(0)
        assert decoded(b.ctx.checkpoints[request.call_id]).job == next(iter(b.server.jobs))
        task.cancel()


async def test_one_refused_list_does_not_make_every_job_a_request_of_its_own() -> None:
    async with bench(requests_per_second=1000) as b:
        b.server.length = HOUR
        tasks = [await b.submitted() for _ in range(32)]
        refusals = 0

        async def once(heard: Heard) -> bool:
            nonlocal refusals
            if "id" in heard.query and not refusals:
                refusals += 1
                await heard.json(400, {"messages": []})
                return True
            return False

        b.server.script = once
        await b.pass_time(3)
        assert all("id" in heard.query for heard in b.asked())
        await b.pass_time(120)

        assert b.asked()[-1].query["id"].count(",") == 31
        for task in tasks:
            task.cancel()
