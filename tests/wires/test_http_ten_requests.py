"""However badly an upstream answers for some of its jobs, a round of questions after up to 1,000 is ten requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from adapters.http.double import Heard
from tests.wires.http_bench import Bench, bench
from tests.wires.test_http_bad_jobs import badly, several, status

pytestmark = pytest.mark.anyio

MOST = 10
HOUR = timedelta(hours=1)
Script = Callable[[Heard], Awaitable[bool]]


def counted(b: Bench, script: Script) -> Counter[int]:
    """Answer so from now on, and count the questions of each round."""
    rounds: Counter[int] = Counter()

    async def counting(heard: Heard) -> bool:
        if heard.method == "GET":
            rounds[b.jobs.rounds] += 1
        return await script(heard)

    b.server.script = counting
    return rounds


async def well(heard: Heard) -> bool:
    """Leave it to the server."""
    return False


async def leave(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def untold(b: Bench, left_out: set[str]) -> Script:
    """Lists are without these jobs, which are known all the same."""

    async def script(heard: Heard) -> bool:
        if heard.method != "GET" or "id" not in heard.query:
            return False
        ids = heard.query["id"].removeprefix("in.(").removesuffix(")").split(",")
        await heard.json(200, [b.server._row(b.server.jobs[id]) for id in ids if id not in left_out])
        return True

    return script


async def test_ninety_nine_bad_jobs_of_a_hundred_are_found_in_ten_requests_a_round() -> None:
    async with bench(requests_per_second=1000) as b:
        tasks = await several(b, 100, HOUR)
        good = list(b.server.jobs)[57]
        rounds = counted(b, badly(set(b.server.jobs) - {good}, status(500)))
        b.server.end(good)
        async with asyncio.timeout(20):
            while not tasks[57].done():  # the upstream is given a rest, ever longer: one answer among so many is rare
                await b.pass_time(10, 1)

        assert max(rounds.values()) <= MOST
        assert [task.done() for task in tasks] == [number == 57 for number in range(100)]
        await leave(tasks)


async def test_jobs_that_lists_leave_out_are_asked_after_in_ten_requests_a_round() -> None:
    async with bench(requests_per_second=1000) as b:
        tasks = await several(b, 100, HOUR)
        kept = next(iter(b.server.jobs))
        rounds = counted(b, untold(b, set(b.server.jobs) - {kept}))
        await b.pass_time(20)
        for job in b.server.jobs:
            b.server.end(job)
        await b.pass_time(90)

        assert max(rounds.values()) <= MOST
        assert {task.result().status for task in tasks} == {204}


async def test_jobs_that_an_upstream_forgot_are_told_in_ten_requests_a_round() -> None:
    async with bench(requests_per_second=1000) as b:
        tasks = await several(b, 100, HOUR)
        kept = list(b.server.jobs)[41]
        row = b.server.jobs[kept]
        b.server.jobs.clear()
        b.server.jobs[kept] = row
        rounds = counted(b, well)
        await b.pass_time(30)

        assert max(rounds.values()) <= MOST
        assert [task.done() for task in tasks] == [number != 41 for number in range(100)]
        await leave(tasks)


@pytest.mark.parametrize("left_out", [False, True])
async def test_where_lists_take_all_requests_some_are_kept_for_jobs_that_are_asked_after_alone(
    left_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.http.jobs.MOST_IDS", 10)
    async with bench(requests_per_second=1000, interval_most=1) as b:
        b.server.estimates = True  # all that are at work are due in each round
        tasks = await several(b, 100, HOUR)
        ids = list(b.server.jobs)
        odd = set(ids[::20])  # the others fill ten lists, and there are ten requests
        rounds = counted(b, untold(b, odd) if left_out else badly(odd, status(500)))
        await b.pass_time(20)
        for job in odd:
            b.server.end(job)
        later = rounds if left_out else counted(b, well)
        await b.pass_time(30)

        assert max([*rounds.values(), *later.values()]) <= MOST
        assert [task.done() for task in tasks] == [id in odd for id in ids]
        await leave(tasks)


@pytest.mark.parametrize("ending", ["", "="])  # an id with = is in no list
async def test_one_that_was_answered_badly_has_its_turn_however_many_are_asked_after_alone(
    ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = (f"{number}{ending}" for number in range(1000))
    monkeypatch.setattr("adapters.http.double.uuid.uuid4", lambda: next(ids))
    async with bench(requests_per_second=1000, interval_most=2) as b:
        tasks = await several(b, 60, HOUR)
        one = f"5{ending}"
        bad = True

        async def script(heard: Heard) -> bool:
            nonlocal bad
            if bad and heard.path == f"/api/job/{one}":
                bad = False
                await heard.json(500, {})
                return True
            return await untold(b, set(b.server.jobs) - {"7"})(heard)

        b.server.script = script
        async with asyncio.timeout(10):
            while bad:
                await b.pass_time(1)
        b.server.end(one)
        await b.pass_time(40)

        assert tasks[5].done()
        await leave(tasks)
