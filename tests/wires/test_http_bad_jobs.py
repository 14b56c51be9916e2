"""A job whose upstream answers badly for it, or with too much, holds up no other and is not told as what it is not."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from adapters.http.double import Heard
from hub.ports.adapter import Delivery, DeviceResponse
from tests.contracts.adapter_case import refused, within
from tests.wires.http_bench import Bench, bench

pytestmark = pytest.mark.anyio

# Without the time, which would be part of the names of tests and differ between processes.
PACKED = gzip.compress(b"{}", mtime=0)

HOUR = timedelta(hours=1)
BIG = "a" * 2_000_000
Answer = Callable[[Heard], Awaitable[Any]]


async def several(b: Bench, count: int, length: timedelta = HOUR) -> list[asyncio.Task[DeviceResponse]]:
    """So many jobs, each of another change."""
    b.server.length = length
    return [await b.submitted(b.request(target=f"/volume/{number}")) for number in range(count)]


def badly(bad: set[str], answer: Answer) -> Any:
    """A script that answers so where one of these jobs is asked after, alone or in a list."""

    async def script(heard: Heard) -> bool:
        if heard.method != "GET" or not any(job in heard.target for job in bad):
            return False
        await answer(heard)
        return True

    return script


def status(code: int) -> Answer:
    return lambda heard: heard.json(code, {"messages": []})


async def cut(heard: Heard) -> None:
    heard.cut()


LOCATION = {"jobs": "location", "job": {"state": ""}}
ONE_BY_ONE = {"job": {"many": ""}}


@pytest.mark.parametrize("settings", [{}, ONE_BY_ONE, LOCATION])
@pytest.mark.parametrize("answer", [status(500), status(403), status(400), cut])
async def test_a_job_that_is_answered_badly_holds_up_no_other(settings: dict[str, Any], answer: Answer) -> None:
    async with bench(**settings) as b:
        tasks = await several(b, 6, timedelta(seconds=2))
        bad = next(iter(b.server.jobs))
        b.server.script = badly({bad}, answer)
        await b.pass_time(12)

        assert [task.done() for task in tasks] == [False] + [True] * 5
        health = b.adapter.health()
        assert (health["state"], health["upstreams"]["array"]["state"]) == ("degraded", "failing")

        b.server.script = None
        await b.pass_time(40)
        assert (await within(tasks[0])).status in (200, 204)
        assert b.adapter.health()["state"] == "up"


async def test_a_job_that_is_never_answered_for_is_asked_after_ever_more_rarely() -> None:
    async with bench(**ONE_BY_ONE) as b:
        tasks = await several(b, 1)
        b.server.script = badly(set(b.server.jobs), status(500))
        await b.pass_time(120)

        assert 12 <= len(b.asked()) <= 30
        tasks[0].cancel()


async def test_a_job_whose_question_hangs_takes_half_of_the_time_at_most() -> None:
    async with bench(**ONE_BY_ONE, answer=20) as b:
        tasks = await several(b, 2)
        first, second = b.server.jobs
        hung = 0

        async def hang(heard: Heard) -> None:
            nonlocal hung
            hung += 1

        b.server.script = badly({first}, hang)
        for _ in range(400):
            b.clock.advance(0.5)
            for _ in range(40):
                await asyncio.sleep(0)

        assert 3 <= hung <= 6
        assert len(b.asked(f"/api/job/{second}")) >= 8
        for task in tasks:
            task.cancel()


async def test_several_jobs_that_are_answered_badly_in_a_row_give_the_upstream_a_rest() -> None:
    async with bench(**ONE_BY_ONE, requests_per_second=1000) as b:
        tasks = await several(b, 30)
        b.server.script = badly(set(b.server.jobs), status(500))
        await b.pass_time(60)

        assert 6 <= len(b.asked()) <= 40
        assert b.adapter.health()["state"] == "degraded"
        b.server.script = None
        for job in b.server.jobs:
            b.server.end(job)
        await b.pass_time(60)
        assert {response.status for response in await within(asyncio.gather(*tasks))} == {204}


async def test_after_a_round_that_broke_the_others_have_their_turn_first() -> None:
    async with bench(**ONE_BY_ONE) as b:
        tasks = await several(b, 9, timedelta(seconds=2))
        bad = set(list(b.server.jobs)[:7])
        b.server.script = badly(bad, status(500))
        await b.pass_time(40)

        assert [task.done() for task in tasks] == [False] * 7 + [True] * 2
        for task in tasks:
            task.cancel()


async def test_a_list_that_keeps_being_refused_is_asked_for_in_parts_and_grows_again_without_the_one_to_blame() -> None:
    async with bench(requests_per_second=1000) as b:
        tasks = await several(b, 32)
        bad = list(b.server.jobs)[20]
        b.server.script = badly({bad}, status(500))
        await b.pass_time(60)
        before = len(b.asked())
        await b.pass_time(30)

        lists = [heard.query["id"].count(",") + 1 for heard in b.asked()[before:] if "id" in heard.query]
        assert 31 in lists
        assert not any(bad in heard.query.get("id", "") for heard in b.asked()[before:])
        for task in tasks:
            task.cancel()


async def test_an_upstream_that_refuses_every_list_and_every_job_is_not_asked_in_ever_smaller_parts() -> None:
    async with bench(requests_per_second=1000) as b:
        tasks = await several(b, 64)
        b.server.script = badly(set(b.server.jobs), status(500))
        await b.pass_time(60)
        assert len(b.asked()) <= 80

        b.server.script = None
        await b.pass_time(60)
        assert b.asked()[-1].query["id"].count(",") == 63
        for task in tasks:
            task.cancel()


async def test_patience_that_is_asked_for_with_one_bad_answer_counts_for_that_job() -> None:
    async with bench(**ONE_BY_ONE) as b:
        tasks = await several(b, 2)
        first, second = b.server.jobs
        b.server.script = badly({first}, lambda heard: heard.json(500, {}, {"Retry-After": "50"}))
        await b.pass_time(45)

        assert len(b.asked(f"/api/job/{first}")) == 1
        assert len(b.asked(f"/api/job/{second}")) >= 4
        for task in tasks:
            task.cancel()


# -- more than may be read --------------------------------------------------------------------------------


def with_body(b: Bench, body: str) -> Any:
    """A script that gives every job this body, unless it is asked to leave it out."""

    async def script(heard: Heard) -> bool:
        if heard.method != "GET":
            return False
        rows = [b.server._row(job) for id, job in b.server.jobs.items() if id in heard.target]
        if "response_body" in heard.query["select"]:
            rows = [{**row, "response_body": {"id": "9", "pad": body}} for row in rows]
        await heard.json(200, rows if "id" in heard.query else rows[0])
        return True

    return script


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"state": "COMPLETED", "response_status": "201"}, (201, None)),
        ({"state": "FAILED", "response_status": "422"}, (422, None)),
        ({"state": "UNRECOVERABLE_FAILED", "response_status": None}, (500, "UNRECOVERABLE_FAILED")),
    ],
)
async def test_a_job_with_too_large_a_result_is_told_as_it_ended(
    row: dict[str, Any], told: tuple[int, str | None]
) -> None:
    async with bench() as b:
        (task,) = await several(b, 1)
        b.server.script = with_body(b, BIG)
        b.server.end(next(iter(b.server.jobs)), **row)
        async with asyncio.timeout(10):
            while not task.done():
                await b.pass_time(0.5)

        response = await task
        assert (response.status, response.native.get("error")) == told
        assert (response.payload, response.native["omitted"]) == (b"", "ANSWER_TOO_LARGE")


async def test_a_job_at_work_with_too_large_an_answer_is_still_at_work() -> None:
    async with bench() as b:
        (task,) = await several(b, 1)
        b.server.script = with_body(b, BIG)
        await b.pass_time(20)
        assert not task.done()

        b.server.end(next(iter(b.server.jobs)))
        await b.pass_time(15)
        assert (await within(task)).status == 204


@pytest.mark.parametrize(
    "settings",
    [{"job": {"one": "job/{id}", "many": ""}}, {"jobs": "location"}, {"job": {"many": ""}}],
)
async def test_where_the_state_cannot_be_had_without_the_result_it_is_unknown(settings: dict[str, Any]) -> None:
    async with bench(**settings) as b:
        (task,) = await several(b, 1)

        async def large(heard: Heard) -> bool:
            if heard.method == "GET":
                await heard.json(200, {"state": "COMPLETED", "status": "succeeded", "pad": BIG})
            return heard.method == "GET"

        b.server.script = large
        async with asyncio.timeout(10):
            while not task.done():
                await b.pass_time(0.5)

        await refused(task, "TIMEOUT", Delivery.DELIVERED)


async def test_a_result_that_is_too_large_is_success_where_a_status_address_has_no_states() -> None:
    async with bench(**LOCATION) as b:
        (task,) = await several(b, 1)

        async def large(heard: Heard) -> bool:
            if heard.method == "GET":
                await heard.json(200, {"pad": BIG})
            return heard.method == "GET"

        b.server.script = large
        async with asyncio.timeout(10):
            while not task.done():
                await b.pass_time(0.5)

        response = await task
        assert (response.status, response.native["omitted"]) == (200, "ANSWER_TOO_LARGE")


# -- in a coding that nobody asked for --------------------------------------------------------------------


async def test_an_answer_that_was_packed_unasked_is_unpacked() -> None:
    async with bench(jobs="location") as b:
        (task,) = await several(b, 1, timedelta(seconds=1))
        value = {"status": "running"}

        async def packed(heard: Heard) -> bool:
            if heard.method == "GET":
                body = gzip.compress(json.dumps(value).encode())
                await heard.answer(200, body, {"Content-Encoding": "gzip"}, "application/json")
            return heard.method == "GET"

        b.server.script = packed
        await b.pass_time(10)
        assert not task.done()

        value = {"status": "succeeded", "n": 7}
        await b.pass_time(15)
        assert json.loads((await within(task)).payload)["n"] == 7


async def test_what_unpacks_to_more_than_may_be_read_is_too_large() -> None:
    async with bench(jobs="none") as b:

        async def bomb(heard: Heard) -> bool:
            await heard.answer(200, gzip.compress(b" " * 50_000_000), {"Content-Encoding": "gzip"})
            return True

        b.server.script = bomb
        response = await b.call("GET")

        assert (response.status, response.native["error"], response.payload) == (502, "ANSWER_TOO_LARGE", b"")


@pytest.mark.parametrize(
    ("coding", "body"),
    [("br", b"xxx"), ("gzip", PACKED[:-3]), ("gzip", b"junk"), ("gzip", PACKED + b"junk")],
)
async def test_a_job_whose_answer_cannot_be_unpacked_is_taken_to_be_at_work(coding: str, body: bytes) -> None:
    async with bench(jobs="location") as b:
        (task,) = await several(b, 1, timedelta(0))
        b.server.script = badly({""}, lambda heard: heard.answer(200, body, {"Content-Encoding": coding}))
        await b.pass_time(10)
        assert not task.done()
        assert b.adapter.health()["state"] == "degraded"

        b.server.script = None
        await b.pass_time(20)
        assert (await within(task)).status == 200


# -- beside the rounds ------------------------------------------------------------------------------------


async def test_results_are_fetched_a_few_at_a_time_and_in_the_pace_of_the_upstream() -> None:
    async with bench(jobs="location", requests_per_second=5) as b:
        under_way = most = fetched = 0
        per_second: dict[int, int] = {}

        async def talk(heard: Heard) -> bool:
            nonlocal under_way, most, fetched
            if heard.method != "GET":
                return False
            at = int(b.clock.monotonic())
            per_second[at] = per_second.get(at, 0) + 1
            if "/status/" in heard.path:
                await heard.answer(303, headers={"Location": heard.path.replace("/status/", "/results/")})
                return True
            under_way, most = under_way + 1, max(most, under_way + 1)
            for _ in range(30):
                await asyncio.sleep(0)
            under_way, fetched = under_way - 1, fetched + 1
            await heard.answer(200, b"the result")
            return True

        tasks = await several(b, 40)
        b.server.script = talk
        async with asyncio.timeout(20):
            while not all(task.done() for task in tasks):
                b.clock.advance(0.1)
                for _ in range(60):
                    await asyncio.sleep(0)

        assert [(await task).payload for task in tasks] == [b"the result"] * 40
        assert fetched == 40
        assert 1 < most <= 4
        # A second after a rest may have twice as many: those of the rest.
        assert max(per_second.values()) <= 11 and sum(per_second.values()) >= 80


async def test_results_of_an_upstream_that_is_busy_are_not_all_tried_again_at_the_same_moment() -> None:
    async with bench(jobs="location") as b:
        tasks = await several(b, 12, timedelta(seconds=1))
        tried = 0

        async def busy(heard: Heard) -> bool:
            nonlocal tried
            if heard.method != "GET":
                return False
            if "/status/" in heard.path:
                await heard.answer(303, headers={"Location": heard.path.replace("/status/", "/results/")})
            else:
                tried += 1
                await heard.answer(503, headers={"Retry-After": "20"})
            return True

        b.server.script = busy
        for _ in range(40):
            b.clock.advance(0.5)
            for _ in range(60):
                await asyncio.sleep(0)

        assert 1 <= tried <= 8
        for task in tasks:
            task.cancel()


@pytest.mark.parametrize("answer", [cut, lambda heard: heard.answer(504)])
async def test_a_result_that_cannot_be_fetched_holds_up_no_other_job(answer: Answer) -> None:
    async with bench(jobs="location") as b:
        first, second = await several(b, 2, timedelta(seconds=3))
        bad = next(iter(b.server.jobs))

        async def talk(heard: Heard) -> bool:
            if heard.path == f"/api/status/{bad}":
                await heard.answer(303, headers={"Location": "/api/results/1"})
            elif heard.path == "/api/results/1":
                await answer(heard)
            return bad in heard.path or "results" in heard.path

        b.server.script = talk
        await b.pass_time(2, 0.1)
        asked = len(b.asked("/api/status"))
        await b.pass_time(6, 0.1)
        assert (second.done(), first.done()) == (True, False)
        # The library asks twice where a connection that was kept breaks.
        assert 2 <= len(b.asked("/api/results")) <= 8 and len(b.asked("/api/status")) > asked

        b.server.script = badly({"results"}, lambda heard: heard.answer(200, b"the result"))
        for _ in range(160):
            await b.pass_time(0.25, 0.25)
        assert (await within(first)).payload == b"the result"


async def test_lost_changes_are_looked_for_a_few_at_a_time_and_in_the_pace_of_the_upstream() -> None:
    async with bench(requests_per_second=10) as b:
        under_way = most = 0
        per_second: dict[int, int] = {}

        async def lose(heard: Heard) -> bool:
            nonlocal under_way, most
            if heard.method != "GET":
                b.server.make(heard, HOUR)
                heard.cut()
                return True
            if "resource_type" not in heard.query:
                return False
            at = int(b.clock.monotonic())
            per_second[at] = per_second.get(at, 0) + 1
            under_way, most = under_way + 1, max(most, under_way + 1)
            for _ in range(30):
                await asyncio.sleep(0)
            under_way -= 1
            return False

        b.server.script = lose
        tasks = [b.begin(b.request(target=f"/volume/{number}")) for number in range(60)]
        await b.server.until(lambda: len(b.changes()) == 60)
        async with asyncio.timeout(20):
            while len(b.ctx.checkpoints) < 60:
                b.clock.advance(0.1)
                for _ in range(60):
                    await asyncio.sleep(0)

        assert 1 < most <= 4
        assert max(per_second.values()) <= 21 and sum(per_second.values()) == 60
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
