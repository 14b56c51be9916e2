"""Which job may be taken for that of a lost submit: one that no call owns, open or ended, and nobody may own."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from adapters.http import owned
from adapters.http.double import Heard
from adapters.http.note import Note, decoded
from hub.ports.adapter import Delivery
from hub.ports.past_call import PastCall
from tests.contracts.adapter_case import refused, within
from tests.wires.http_bench import Bench, bench
from tests.wires.test_http_lost import HOUR, loses_the_answer, until_done

pytestmark = pytest.mark.anyio


async def ended(b: Bench, **changes: Any) -> str:
    """A change that its upstream carried out and that was told; its job."""
    b.server.length = timedelta(0)
    task = await b.submitted(b.request(**changes))
    await b.pass_time(1)
    assert (await within(task)).status == 204
    return list(b.server.jobs)[-1]


async def lose(b: Bench, taken: int = 0, **changes: Any) -> asyncio.Task[Any]:
    """A change whose answer is lost, and what became of its call."""
    b.server.script = loses_the_answer(b, taken=taken)
    before = len(b.changes())
    task = b.begin(b.request(**changes))
    await b.server.until(lambda: len(b.changes()) > before)
    await until_done(b, task)
    return task


async def test_after_a_restart_the_job_of_a_call_that_has_ended_is_not_adopted() -> None:
    async with bench() as b:
        job = await ended(b)
        await b.restart()
        b.ctx.past = [PastCall("array", "PATCH", "/volume/7", b.clock.now(), Note(job).encoded())]

        await refused(await lose(b), "TIMEOUT", Delivery.MAYBE)


async def test_the_jobs_from_which_a_call_went_on_are_its_own() -> None:
    async with bench() as b:
        job = await ended(b)
        await b.restart()
        further = Note(job).next("further", False)
        assert further is not None
        b.ctx.past = [PastCall("array", "PATCH", "/volume/7", b.clock.now(), further.encoded())]

        await refused(await lose(b), "TIMEOUT", Delivery.MAYBE)


async def test_the_job_of_a_call_that_was_long_over_is_nobody_elses_concern() -> None:
    async with bench() as b:
        job = await ended(b)
        await b.restart()
        b.ctx.past = [PastCall("array", "PATCH", "/volume/7", b.clock.now(), Note(job).encoded())]
        b.clock.advance(600)
        b.server.script = loses_the_answer(b)
        request = b.request()
        task = b.begin(request)
        await b.server.until(lambda: len(b.server.jobs) == 2)
        await until_checkpoint(b, request.call_id)

        assert decoded(b.ctx.checkpoints[request.call_id]).job == list(b.server.jobs)[-1]
        assert b.ctx.past_asked == []
        task.cancel()


async def until_checkpoint(b: Bench, call: str) -> None:
    async with asyncio.timeout(10):
        while call not in b.ctx.checkpoints:
            b.clock.advance(0.25)
            for _ in range(50):
                await asyncio.sleep(0)


async def test_a_change_of_another_process_that_nobody_knows_of_may_own_the_job() -> None:
    async with bench() as b:
        b.server.script = loses_the_answer(b, taken=1)
        before = b.begin(b.request())
        await b.server.until(lambda: bool(b.server.jobs))
        await b.restart()
        await asyncio.gather(before, return_exceptions=True)
        # It was told as unknown; its job is there all the same, and this change made none.
        b.ctx.past = [PastCall("array", "PATCH", "/volume/7", b.clock.now(), unknown=True)]

        await refused(await lose(b), "TIMEOUT", Delivery.MAYBE)


async def test_a_change_that_was_given_up_may_own_the_job() -> None:
    async with bench() as b:

        async def silent(heard: Heard) -> bool:
            if heard.method == "GET":
                return False
            b.server.make(heard, HOUR)
            return True

        b.server.script = silent
        given_up = b.begin(b.request())
        await b.server.until(lambda: bool(b.server.jobs))
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)

        await refused(await lose(b), "TIMEOUT", Delivery.MAYBE)


async def test_a_change_of_something_else_that_was_given_up_is_in_nobodys_way() -> None:
    async with bench() as b:
        await refused(await lose(b, target="/volume/8"), "TIMEOUT", Delivery.MAYBE)
        b.server.script = loses_the_answer(b)
        request = b.request(target="/volume/7")
        task = b.begin(request)
        await b.server.until(lambda: bool(b.server.jobs))
        await until_checkpoint(b, request.call_id)

        assert decoded(b.ctx.checkpoints[request.call_id]).job == next(iter(b.server.jobs))
        task.cancel()


async def test_a_job_whose_202_is_on_its_way_to_another_call_is_not_adopted() -> None:
    async with bench() as b:
        slow: list[Heard] = []

        async def first_slow_then_lost(heard: Heard) -> bool:
            if heard.method == "GET":
                return False
            if slow:
                heard.cut()
            else:
                slow.append(heard)
                b.server.make(heard, HOUR)
            return True

        b.server.script = first_slow_then_lost
        first = b.request()
        theirs = b.begin(first)
        await b.server.until(lambda: bool(slow))
        ours = b.begin(b.request())
        await b.server.until(lambda: len(b.changes()) == 2)
        for _ in range(20):
            b.clock.advance(0.5)
            for _ in range(200):
                await asyncio.sleep(0)
        assert not ours.done()
        assert b.ctx.checkpoints == {}
        (job,) = b.server.jobs
        await slow[0].json(202, {"id": job})
        await until_checkpoint(b, first.call_id)
        await until_done(b, ours, 50)

        await refused(ours, "TIMEOUT", Delivery.MAYBE)
        assert decoded(b.ctx.checkpoints[first.call_id]).job == job
        theirs.cancel()


async def test_an_instance_that_is_called_by_name_is_looked_for_by_its_name() -> None:
    async with bench() as b:
        heard = Heard("PATCH", "/api/volume/name:silver", {}, b"", None)  # type: ignore[arg-type]
        b.server.make(heard, HOUR)
        await refused(await lose(b, target="/volume/name:gold"), "TIMEOUT", Delivery.MAYBE)

        b.server.script = loses_the_answer(b)
        request = b.request(target="/volume/name:silver")
        b.clock.advance(60)
        task = b.begin(request)
        await b.server.until(lambda: len(b.server.jobs) == 2)
        await until_checkpoint(b, request.call_id)
        assert decoded(b.ctx.checkpoints[request.call_id]).job == list(b.server.jobs)[-1]
        task.cancel()


async def test_where_an_instance_cannot_be_looked_for_by_its_name_nothing_is_adopted() -> None:
    find = "job?select=id&resource_type=eq.{type}&resource_id=eq.{instance}&start_time=gte.{since}"
    async with bench(job={"find": find}) as b:
        await refused(await lose(b, taken=1, target="/volume/name:gold"), "TIMEOUT", Delivery.MAYBE)

        assert b.asked() == []


async def test_a_page_that_is_not_all_is_no_proof() -> None:
    async with bench() as b:

        async def partly(heard: Heard) -> bool:
            if heard.method != "GET":
                return False
            await heard.json(206, [{"id": "one"}], {"Content-Range": "0-0/2"})
            return True

        lost = loses_the_answer(b)

        async def both(heard: Heard) -> bool:
            return bool(await lost(heard) or await partly(heard))

        b.server.script = both
        task = b.begin(b.request())
        await b.server.until(lambda: bool(b.changes()))
        await until_done(b, task)

        await refused(task, "TIMEOUT", Delivery.MAYBE)


async def test_more_jobs_than_are_remembered_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owned, "MOST_KNOWN", 2)
    async with bench() as b:
        b.clock.advance(600)
        jobs = [await ended(b, target=target) for target in ("/volume/7", "/volume/8", "/volume/9")]
        b.ctx.past = [PastCall("array", "PATCH", "/volume/7", b.clock.now(), Note(jobs[0]).encoded())]

        await refused(await lose(b), "TIMEOUT", Delivery.MAYBE)
        assert len(b.ctx.past_asked) == 1


async def test_what_cannot_be_looked_up_is_not_known() -> None:
    async with bench() as b:
        await b.restart()
        b.ctx.past_fails = True

        await refused(await lose(b, taken=1), "TIMEOUT", Delivery.MAYBE)
