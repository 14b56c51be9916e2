"""Many jobs that are answered badly, side by side or not, hold up those that are not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.wires.http_bench import Bench, bench
from tests.wires.test_http_bad_jobs import ONE_BY_ONE, badly, several, status

pytestmark = pytest.mark.anyio

SHORT = timedelta(seconds=5)


async def go_on(b: Bench, seconds: float) -> None:
    """Move the clock on; a round that waits for its turns gets them."""
    for _ in range(round(seconds * 4)):
        b.clock.advance(0.25)
        for _ in range(60):
            await asyncio.sleep(0)


async def leave(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(("settings", "within"), [({}, 12), (ONE_BY_ONE, 24)])
@pytest.mark.parametrize("count", [16, 40])
@pytest.mark.parametrize("first", [0, 30])
async def test_bad_jobs_side_by_side_do_not_hold_up_the_good_ones(
    settings: dict[str, Any], within: int, count: int, first: int
) -> None:
    async with bench(**settings) as b:
        tasks = await several(b, 100, SHORT)
        bad = set(list(b.server.jobs)[first : first + count])
        b.server.script = badly(bad, status(500))
        await go_on(b, within)

        assert sum(task.done() for task in tasks) == 100 - count
        await leave(tasks)


async def test_an_upstream_that_refuses_every_list_is_asked_job_by_job_at_once() -> None:
    async with bench() as b:
        tasks = await several(b, 300, SHORT)

        async def no_lists(handling: Any) -> bool:
            if handling.method == "GET" and "," in handling.query.get("id", ""):
                await handling.json(404, {"messages": []})
                return True
            return False

        b.server.script = no_lists
        await go_on(b, 60)

        assert sum(task.done() for task in tasks) == 300
        await leave(tasks)


@pytest.mark.parametrize("settings", [{}, ONE_BY_ONE])
async def test_a_job_that_comes_while_many_stay_bad_is_asked_after_as_any_other(settings: dict[str, Any]) -> None:
    async with bench(**settings) as b:
        tasks = await several(b, 40, SHORT)
        b.server.script = badly(set(b.server.jobs), status(500))
        async with asyncio.timeout(20):
            while b.adapter.health()["upstreams"]["array"]["failing"] < 40:
                await go_on(b, 10)
        await go_on(b, 40)  # the rest that the upstream was given is over
        tasks.append(await b.submitted(b.request(target="/volume/new")))
        await go_on(b, 15)

        assert [task.done() for task in tasks] == [False] * 40 + [True]
        await leave(tasks)


async def test_after_an_outage_all_are_asked_after_together_again() -> None:
    async with bench(requests_per_second=1000) as b:
        tasks = await several(b, 100, timedelta(hours=1))
        b.server.script = badly({""}, status(500))
        before = len(b.asked())
        await go_on(b, 120)
        assert len(b.asked()) - before <= 120
        b.server.script = None
        await go_on(b, 60)
        before = len(b.asked())
        await go_on(b, 30)

        lists = [heard.query["id"].count(",") + 1 for heard in b.asked()[before:]]
        assert max(lists) == 100 and len(lists) <= 20
        await leave(tasks)
