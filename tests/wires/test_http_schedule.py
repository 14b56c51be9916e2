"""When and how jobs are asked after: pauses that are spread, addresses that are short."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta

import pytest

from adapters.http.double import Heard
from adapters.http.schedule import Schedule
from adapters.http.settings import HttpSettings
from adapters.http.told import AtWork
from tests.clock import ManualClock
from tests.contracts.adapter_case import within
from tests.wires.http_bench import bench

pytestmark = pytest.mark.anyio

SETTINGS = HttpSettings(interval=timedelta(seconds=1), interval_most=timedelta(seconds=10))


def test_jobs_that_are_asked_after_together_come_again_at_moments_of_their_own_a_fifth_around_their_pause() -> None:
    clock = ManualClock()
    schedule = Schedule(SETTINGS, clock, 100)
    jobs = [schedule.take(f"j{number}", None) for number in range(400)]
    for pause in (1.5, 2.25, 3.375, 5.0625, 7.59375, 10, 10):
        now = max(job.due for job in jobs)
        for job in jobs:
            job.due = now
            schedule.again(job, now, AtWork())
        pauses = [(job.due - now) / pause for job in jobs]

        assert 0.8 <= min(pauses) < 0.85 and 1.15 < max(pauses) <= 1.2


def test_pauses_after_failures_are_spread_by_a_fifth() -> None:
    clock = ManualClock()
    pauses = []
    for _ in range(400):
        schedule = Schedule(SETTINGS, clock, 100)
        schedule.hold_off(None)
        pauses.append((schedule.not_before - clock.monotonic()) / 1.5)

    assert 0.8 <= min(pauses) < 0.85 and 1.15 < max(pauses) <= 1.2


def test_what_an_upstream_asks_for_itself_is_not_spread() -> None:
    clock = ManualClock()
    schedule = Schedule(SETTINGS, clock, 100)
    for number in range(50):
        job = schedule.take(f"j{number}", None)
        schedule.again(job, clock.monotonic(), AtWork(again=7))
        assert job.due - clock.monotonic() == 7


@pytest.mark.parametrize(("length", "most"), [(36, 100), (60, 65), (200, 20)])
async def test_an_address_that_asks_after_many_jobs_stays_below_four_kilobytes(length: int, most: int) -> None:
    async with bench(requests_per_second=1000) as b:
        b.server.length = timedelta(hours=1)
        numbers = itertools.count()

        async def talk(heard: Heard) -> bool:
            if heard.method == "GET":
                return False
            job = b.server.make(heard, timedelta(hours=1))
            del b.server.jobs[job.id]
            job.id = f"{next(numbers):03}-".ljust(length, "x")
            b.server.jobs[job.id] = job
            await heard.json(202, {"id": job.id})
            return True

        b.server.script = talk
        tasks = [await b.submitted() for _ in range(150)]
        await b.pass_time(3)

        lists = [heard for heard in b.asked() if "id" in heard.query]
        sizes = [heard.query["id"].count(",") + 1 for heard in lists]
        assert max(len(b.server.url.removesuffix("/api") + heard.target) for heard in lists) < 4096
        # And no shorter than need be.
        assert max(sizes) <= most and max(sizes) > most * 0.8
        asked = {id for heard in lists for id in heard.query["id"].removeprefix("in.(").removesuffix(")").split(",")}
        assert asked == set(b.server.jobs)
        for job in b.server.jobs:
            b.server.end(job)
        await b.pass_time(15)
        assert {response.status for response in await within(asyncio.gather(*tasks))} == {204}
