"""A change that is said again under its key: what says nothing of the key says nothing of the change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from adapters.http.double import Heard
from hub.ports.adapter import Delivery
from tests.contracts.adapter_case import refused, within
from tests.wires.http_bench import Bench, bench
from tests.wires.test_http_lost import pass_real_time

pytestmark = pytest.mark.anyio

LENGTH = timedelta(seconds=3)
UNSEEN = [400, 401, 403, 404, 405, 407, 408, 409, 413, 422, 429, 500, 502, 503]
Repeated = Callable[[Heard, int], Any]


def lost_and(b: Bench, repeated: Repeated, *, taken: bool = True) -> None:
    """The first change is taken (or not) and its answer lost; `repeated` answers the others, by their number."""
    changes = 0

    async def script(heard: Heard) -> bool:
        nonlocal changes
        if heard.method == "GET":
            return False
        changes += 1
        if changes > 1:
            await repeated(heard, changes - 1)
            return True
        if taken:
            b.server.make(heard, LENGTH)
        heard.cut()
        return True

    b.server.script = script


async def over(b: Bench, task: asyncio.Task[Any], seconds: float) -> float:
    """Move the clock on until a call is over; how long that took."""
    began = b.clock.monotonic()
    async with asyncio.timeout(20):
        while not task.done() and b.clock.monotonic() < began + seconds:
            b.clock.advance(0.5)
            turns = 0
            while not task.done() and turns < 60:
                await asyncio.sleep(0)
                turns += 1
    return b.clock.monotonic() - began


@pytest.mark.parametrize("status", UNSEEN)
async def test_a_repetition_that_is_refused_before_its_key_was_looked_at_is_said_again(status: int) -> None:
    async with bench(jobs="hub") as b:

        async def refuses_twice(heard: Heard, number: int) -> None:
            if number <= 2:
                await heard.json(status, {"messages": [{"code": "0x1"}]})
            else:
                await heard.json(202, {"id": next(iter(b.server.jobs))})

        lost_and(b, refuses_twice)
        task = b.begin(b.request())
        await over(b, task, 60)

        assert (await within(task)).status == 204
        assert len(b.changes()) == 4


async def test_where_the_key_is_never_looked_at_the_job_is_looked_for() -> None:
    async with bench(jobs="hub") as b:
        lost_and(b, lambda heard, number: heard.json(404, {"messages": []}))
        task = b.begin(b.request())
        await over(b, task, 900)

        assert (await within(task)).status == 204
        assert len(b.server.jobs) == 1


@pytest.mark.parametrize("status", [404, 500, 503])
async def test_a_change_that_is_refused_again_and_again_holds_its_lane_for_some_minutes_only(status: int) -> None:
    async with bench(jobs="hub", inflight=1) as b:
        lost_and(b, lambda heard, number: heard.json(status, {"messages": []}), taken=False)
        task = b.begin(b.request(deadline=b.clock.monotonic() + 86_400))
        await b.server.until(lambda: bool(b.changes()))
        assert b.adapter.window("array") == 0
        took = await over(b, task, 3600)

        await refused(task, "TIMEOUT", Delivery.MAYBE)
        assert 500 <= took <= 700
        assert b.adapter.window("array") == 1


@pytest.mark.parametrize(("status", "replayed"), [(422, "false"), (404, "false"), (422, "true"), (503, "true")])
async def test_a_refusal_that_comes_after_the_key_was_looked_up_is_final(status: int, replayed: str) -> None:
    async with bench(jobs="hub") as b:
        answer = {"Idempotent-Replayed": replayed}
        lost_and(b, lambda heard, number: heard.json(status, {"messages": []}, answer), taken=False)
        task = b.begin(b.request())
        await over(b, task, 30)

        assert (await within(task)).status == status
        assert len(b.changes()) == 2


async def test_the_time_in_which_an_upstream_is_away_is_none_of_those_minutes() -> None:
    async with bench(jobs="hub", failures=1) as b:

        async def takes(heard: Heard, number: int) -> None:
            await heard.json(202, {"id": next(iter(b.server.jobs))})

        lost_and(b, takes)
        task = b.begin(b.request(deadline=b.clock.monotonic() + 86_400))
        await b.server.until(lambda: bool(b.server.jobs))
        await b.server.close()
        await b.pass_time(1800)
        assert not task.done()

        await b.server.open()
        while not task.done():
            await pass_real_time(b, 1)
        assert (await within(task)).status == 204
