"""A submit whose answer is lost: what became of it is found out, and it is never sent again blindly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from adapters.http.double import Heard
from adapters.http.note import decoded
from hub.ports.adapter import Delivery, NotConnected
from tests.contracts.adapter_case import refused, within
from tests.wires.http_bench import Bench, bench

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


def loses_the_answer(b: Bench, *, taken: int = 1, every: bool = False) -> Callable[[Heard], Any]:
    """A script that makes so many jobs of the first change (or of every one) and breaks its connection off."""
    done = False

    async def script(heard: Heard) -> bool:
        nonlocal done
        if heard.method == "GET" or (done and not every):
            return False
        done = True
        for _ in range(taken):
            b.server.make(heard, HOUR)
        heard.cut()
        return True

    return script


async def until_done(b: Bench, task: asyncio.Task[Any], seconds: float = 30) -> None:
    """Move the clock on until a call is over, in half seconds, waiting for the far side each time."""
    async with asyncio.timeout(20):
        for _ in range(round(seconds * 2)):
            b.clock.advance(0.5)
            for _ in range(200):
                if task.done():
                    return
                await asyncio.sleep(0)


async def test_the_one_job_that_it_became_is_adopted() -> None:
    async with bench() as b:
        b.server.script = loses_the_answer(b)
        request = b.request(target="/volume/7")
        task = b.begin(request)
        await b.server.until(lambda: bool(b.server.jobs))
        (job,) = b.server.jobs
        while request.call_id not in b.ctx.checkpoints:
            b.clock.advance(0.5)
            await asyncio.sleep(0)
        assert decoded(b.ctx.checkpoints[request.call_id]).job == job
        b.server.end(job)
        await b.pass_time(3)

        assert (await within(task)).status == 204
        assert len(b.changes()) == 1


@pytest.mark.parametrize("taken", [0, 2])
async def test_none_or_two_is_unknown_and_nothing_is_sent_again(taken: int) -> None:
    async with bench() as b:
        b.server.script = loses_the_answer(b, taken=taken)
        task = b.begin(b.request())
        await b.server.until(lambda: bool(b.changes()))
        await until_done(b, task)

        await refused(task, "TIMEOUT", Delivery.MAYBE)
        assert len(b.changes()) == 1
        assert b.ctx.checkpoints == {}


async def test_a_job_of_another_call_is_not_adopted() -> None:
    async with bench() as b:
        b.server.length = HOUR
        first = await b.submitted(b.request(target="/volume/7"))
        b.server.script = loses_the_answer(b, taken=0)
        second = b.begin(b.request(target="/volume/7"))
        await b.server.until(lambda: len(b.changes()) == 2)
        await until_done(b, second)

        await refused(second, "TIMEOUT", Delivery.MAYBE)
        assert not first.done()
        first.cancel()


async def test_two_lost_changes_that_look_the_same_adopt_nothing() -> None:
    async with bench() as b:
        cut = 0

        async def one_of_two(heard: Heard) -> bool:
            nonlocal cut
            if heard.method == "GET":
                return False
            cut += 1
            if cut == 2:
                b.server.make(heard, HOUR)
            heard.cut()
            return True

        b.server.script = one_of_two
        tasks = [b.begin(b.request(target="/volume/7")) for _ in range(2)]
        await b.server.until(lambda: len(b.changes()) == 2)
        for task in tasks:
            await until_done(b, task)

        for task in tasks:
            await refused(task, "TIMEOUT", Delivery.MAYBE)
        assert len(b.changes()) == 2


async def test_a_job_from_before_is_not_adopted() -> None:
    async with bench() as b:
        b.server.length = HOUR
        heard = Heard("PATCH", "/api/volume/7", {}, b"", None)  # type: ignore[arg-type]
        b.server.make(heard, HOUR)
        b.clock.advance(60)
        b.server.script = loses_the_answer(b, taken=0)
        task = b.begin(b.request(target="/volume/7"))
        await b.server.until(lambda: bool(b.changes()))
        await until_done(b, task)

        await refused(task, "TIMEOUT", Delivery.MAYBE)


async def test_a_submit_that_is_not_answered_in_time_is_looked_for() -> None:
    async with bench(answer=10) as b:

        async def mute(heard: Heard) -> bool:
            if heard.method == "GET":
                return False
            b.server.make(heard, HOUR)
            return True

        b.server.script = mute
        request = b.request()
        task = b.begin(request)
        await b.server.until(lambda: bool(b.server.jobs))
        while request.call_id not in b.ctx.checkpoints:
            b.clock.advance(0.5)
            await asyncio.sleep(0)

        assert decoded(b.ctx.checkpoints[request.call_id]).job == next(iter(b.server.jobs))
        task.cancel()


async def test_an_upstream_that_cannot_be_looked_through_leaves_it_unknown_at_once() -> None:
    async with bench(jobs="location") as b:
        b.server.script = loses_the_answer(b, taken=0)

        await refused(b.adapter.call(b.request()), "TIMEOUT", Delivery.MAYBE)
        assert len(b.changes()) == 1


async def test_a_change_waits_for_an_upstream_to_which_there_is_no_connection() -> None:
    async with bench() as b:
        await b.server.close()

        await refused(b.adapter.call(b.request()), "NOT_CONNECTED", Delivery.NOT_SENT)


async def test_an_upstream_that_knows_repetitions_is_asked_again_under_the_same_key() -> None:
    async with bench(jobs="hub") as b:
        b.server.length = HOUR
        remembered: dict[str, str] = {}

        async def remember(heard: Heard) -> bool:
            if heard.method == "GET":
                return False
            key = heard.headers["idempotency-key"]
            if key in remembered:
                await heard.json(202, {"id": remembered[key]})
            else:
                remembered[key] = b.server.make(heard, HOUR).id
                heard.cut()
            return True

        b.server.script = remember
        request = b.request()
        task = b.begin(request)
        await b.server.until(lambda: bool(b.server.jobs))
        while request.call_id not in b.ctx.checkpoints:
            b.clock.advance(0.5)
            await asyncio.sleep(0)
        b.server.end(*b.server.jobs)
        await b.pass_time(3)

        assert (await within(task)).status == 204
        assert remembered == {request.call_id: next(iter(b.server.jobs))}
        assert len(b.server.jobs) == 1


async def test_lost_changes_wait_for_whoever_looks_and_are_asked_for_as_soon_as_the_upstream_is_back() -> None:
    async with bench(jobs="hub", failures=1) as b:
        b.server.script = loses_the_answer(b, taken=0, every=True)
        tasks = [b.begin(b.request()) for _ in range(20)]
        await b.server.until(lambda: len(b.changes()) == 20)
        await b.server.close()
        upstream = b.places[0].upstream
        while not upstream.breaker.open:
            await pass_real_time(b, 0.5)
        before = upstream.requests
        await pass_real_time(b, 25)
        assert upstream.requests - before <= 6  # looks after 1, 2, 4, 8 and 16 s

        b.server.script = None
        b.server.length = HOUR
        await b.server.open()
        while upstream.breaker.open:
            await pass_real_time(b, 0.5)
        await pass_real_time(b, 1.5)
        assert len(b.server.jobs) == 20
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pass_real_time(b: Bench, seconds: float) -> None:
    """Move the clock on in half seconds; sockets get their turns each time."""
    for _ in range(round(seconds * 2)):
        b.clock.advance(0.5)
        for _ in range(300):
            await asyncio.sleep(0)


@pytest.mark.parametrize("taken", [0, 1])
async def test_after_a_restart_the_job_is_looked_for_and_nothing_is_sent_again(taken: int) -> None:
    async with bench() as b:
        b.server.script = loses_the_answer(b, taken=taken)
        request, sent_at = b.request(), b.clock.now()
        task = b.begin(request)
        await b.server.until(lambda: bool(b.changes()))
        await b.restart()
        with pytest.raises(NotConnected):
            await within(task)
        b.clock.advance(30)
        b.ctx.checkpoints.clear()
        found = asyncio.get_running_loop().create_task(b.adapter.recover(request, sent_at))
        for job in b.server.jobs:
            b.server.end(job)
        await until_done(b, found)

        if taken:
            assert (await within(found)).status == 204
            assert decoded(b.ctx.checkpoints[request.call_id]).job == next(iter(b.server.jobs))
        else:
            await refused(found, "TIMEOUT", Delivery.MAYBE)
        assert len(b.changes()) == 1
