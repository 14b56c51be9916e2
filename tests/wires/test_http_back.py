"""An upstream that was away and is back: it is found again soon, also the second time, and its jobs are asked after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from hub.ports.adapter import CallError
from tests.wires.http_bench import Bench, bench

pytestmark = pytest.mark.anyio


async def until_so(b: Bench, condition: Callable[[], bool], seconds: float) -> float:
    """Move the clock on until something is so; how long that took. Sockets get their turns each time."""
    began = b.clock.monotonic()
    while not condition() and b.clock.monotonic() < began + seconds:
        b.clock.advance(0.5)
        turns = 0
        while turns < 200 and not condition():
            await asyncio.sleep(0)
            turns += 1
    return b.clock.monotonic() - began


async def long_away(b: Bench) -> None:
    """Be away for so long that it is looked for as rarely as may be."""
    upstream = b.places[0].upstream
    await b.server.close()
    with pytest.raises(CallError):
        await b.call("GET")
    await until_so(b, lambda: upstream.breaker.pause == 30, 300)
    assert upstream.breaker.open


async def test_one_that_goes_away_anew_is_looked_for_from_the_beginning() -> None:
    async with bench(failures=1, jobs="none") as b:
        upstream = b.places[0].upstream
        await long_away(b)
        await b.server.open()
        await upstream.look()
        assert not upstream.breaker.open
        await b.server.close()
        with pytest.raises(CallError):
            await b.call("GET")
        assert upstream.breaker.open
        await b.server.open()

        assert await until_so(b, lambda: not upstream.breaker.open, 60) <= 1.5


async def test_one_that_comes_and_goes_is_looked_for_by_one() -> None:
    async with bench(failures=1, jobs="none") as b:
        upstream = b.places[0].upstream
        for _ in range(5):
            await long_away(b)
            await b.server.open()
            await upstream.look()
            await b.server.close()
            with pytest.raises(CallError):
                await b.call("GET")
        before = upstream.requests
        await until_so(b, lambda: False, 8)

        assert upstream.requests - before == 3  # after 1, 2 and 4 s


async def test_jobs_are_asked_after_as_soon_as_it_is_back() -> None:
    async with bench() as b:
        b.server.length = timedelta(seconds=30)
        task = await b.submitted()
        await b.server.close()
        await until_so(b, lambda: b.jobs._jobs._failures >= 12, 600)
        await b.server.open()
        upstream = b.places[0].upstream
        assert upstream.breaker.open and not task.done()
        await upstream.look()

        assert await until_so(b, task.done, 60) <= 1.5


async def test_patience_that_was_asked_for_outlasts_a_broken_connection() -> None:
    async with bench(failures=1) as b:
        b.server.length = timedelta(seconds=1)
        task = await b.submitted()
        silent = True

        async def busy(heard: object) -> bool:
            if silent and getattr(heard, "method", "") == "GET":
                await heard.json(503, {}, {"Retry-After": "100"})  # type: ignore[attr-defined]
                return True
            return False

        b.server.script = busy
        await until_so(b, lambda: bool(b.asked()), 10)
        await until_so(b, lambda: not b.jobs.asking, 1)
        silent = False
        upstream = b.places[0].upstream
        upstream.breaker.failed()
        await upstream.look()

        assert await until_so(b, task.done, 200) >= 95
