"""The same thing by its name and by its id: a job that is found may be that of a change which called it otherwise."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from adapters.http.double import Heard
from adapters.http.note import decoded
from adapters.http.question import Likeness, likeness_of
from adapters.http.shape import POWERSTORE
from adapters.http.slots import Slots
from hub.ports.adapter import Delivery, NotConnected
from hub.ports.past_call import PastCall
from tests.contracts.adapter_case import refused, within
from tests.wires.http_bench import Bench, bench
from tests.wires.test_http_lost import HOUR, loses_the_answer, until_done
from tests.wires.test_http_owned import lose, until_checkpoint

pytestmark = pytest.mark.anyio

BY_ID, BY_NAME = "/volume/7", "/volume/name:gold"


def takes(b: Bench, heard: Heard) -> str:
    """A job of `BY_ID` or `BY_NAME` as a storage system keeps it: it knows both."""
    job = b.server.make(heard, HOUR)
    job.facets = {**job.facets, "resource_id": "7", "resource_name": "gold"}
    return job.id


def takes_by(b: Bench, called: str, slow: list[Heard]) -> Any:
    """A script that takes the change which calls it so, and keeps its answer for later; any other is cut off."""

    async def script(heard: Heard) -> bool:
        if heard.method == "GET":
            return False
        if heard.path.endswith(called):
            slow.append(heard)
            takes(b, heard)
        else:
            heard.cut()
        return True

    return script


def change(method: str, target: str, find: str = POWERSTORE.find) -> Likeness:
    made = likeness_of(replace(POWERSTORE, find=find), "hub", method, "", target)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("PATCH", BY_ID), ("PATCH", BY_NAME), True),
        (("PATCH", BY_ID), ("PATCH", "/Volume/7"), True),
        (("PATCH", BY_ID), ("PATCH", "/volume/8"), False),
        (("PATCH", BY_NAME), ("PATCH", "/volume/name:silver"), False),
        (("PATCH", BY_ID), ("DELETE", BY_NAME), False),
        (("PATCH", BY_ID), ("PATCH", "/host/name:gold"), False),
        (("POST", BY_ID + "/clone"), ("POST", "/volume/name:gold/clone"), True),
        (("POST", BY_ID + "/clone"), ("POST", "/volume/clone"), True),
        (("POST", "/volume"), ("POST", "/volume"), True),
        (("POST", "/volume"), ("PATCH", BY_ID), False),
    ],
)
def test_changes_overlap_whose_jobs_cannot_be_told_apart(
    one: tuple[str, str], other: tuple[str, str], same: bool
) -> None:
    assert change(*one).overlaps(change(*other)) is same
    assert change(*other).overlaps(change(*one)) is same


def test_what_a_list_cannot_be_asked_for_tells_nothing_apart() -> None:
    find = "job?type=eq.{type}&id=eq.{instance}&from={since}"

    assert change("PATCH", BY_ID, find).overlaps(change("DELETE", BY_NAME, find))
    assert change("PATCH", BY_NAME, find).question is None
    assert not change("PATCH", BY_ID, find).overlaps(change("PATCH", "/volume/8", find))


@pytest.mark.parametrize(("taken", "lost"), [(BY_ID, BY_NAME), (BY_NAME, BY_ID)])
async def test_one_by_name_and_one_by_id_that_are_both_lost_adopt_nothing(taken: str, lost: str) -> None:
    async with bench(answer=5) as b:
        b.server.script = takes_by(b, taken, [])
        theirs = b.begin(b.request(target=taken))
        await b.server.until(lambda: bool(b.server.jobs))
        ours = b.begin(b.request(target=lost))
        await b.server.until(lambda: len(b.changes()) == 2)
        for task in (ours, theirs):
            await until_done(b, task)

        for task in (ours, theirs):
            await refused(task, "TIMEOUT", Delivery.MAYBE)
        assert b.ctx.checkpoints == {}


async def test_a_202_that_is_on_its_way_says_whose_the_job_is_however_the_change_called_it() -> None:
    async with bench() as b:
        slow: list[Heard] = []
        b.server.script = takes_by(b, BY_ID, slow)
        first = b.request(target=BY_ID)
        theirs = b.begin(first)
        await b.server.until(lambda: bool(slow))
        ours = b.begin(b.request(target=BY_NAME))
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


async def test_a_change_by_id_that_was_given_up_may_own_what_is_found_by_name() -> None:
    async with bench() as b:
        b.server.script = takes_by(b, BY_ID, [])
        given_up = b.begin(b.request(target=BY_ID))
        await b.server.until(lambda: bool(b.server.jobs))
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)

        await refused(await lose(b, target=BY_NAME), "TIMEOUT", Delivery.MAYBE)


async def test_a_change_by_name_before_a_restart_may_own_what_is_found_by_id() -> None:
    async with bench() as b:
        b.server.script = takes_by(b, BY_NAME, [])
        before = b.begin(b.request(target=BY_NAME))
        await b.server.until(lambda: bool(b.server.jobs))
        await b.restart()
        await asyncio.gather(before, return_exceptions=True)
        b.ctx.past = [PastCall("array", "PATCH", BY_NAME, b.clock.now(), unknown=True)]

        await refused(await lose(b, target=BY_ID), "TIMEOUT", Delivery.MAYBE)


async def test_a_change_that_cannot_be_looked_for_itself_may_own_what_is_found() -> None:
    find = "job?select=id&resource_type=eq.{type}&resource_id=eq.{instance}&start_time=gte.{since}"
    async with bench(job={"find": find}) as b:
        b.server.script = takes_by(b, BY_NAME, [])
        given_up = b.begin(b.request(target=BY_NAME))
        await b.server.until(lambda: bool(b.server.jobs))
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)

        await refused(await lose(b, target=BY_ID), "TIMEOUT", Delivery.MAYBE)


# -- a job that was found, and then named by an answer ----------------------------------------------------


async def adopted(b: Bench) -> tuple[Any, asyncio.Task[Any], str]:
    """A change that found its job: its request, its call, the job."""
    b.server.script = loses_the_answer(b)
    request = b.request(target=BY_ID)
    task = b.begin(request)
    await b.server.until(lambda: bool(b.server.jobs))
    await until_checkpoint(b, request.call_id)
    (job,) = b.server.jobs
    assert decoded(b.ctx.checkpoints[request.call_id]).job == job
    return request, task, job


def names(job: str) -> Any:
    """A script that answers every change with this job."""

    async def script(heard: Heard) -> bool:
        if heard.method != "GET":
            await heard.json(202, {"id": job})
        return heard.method != "GET"

    return script


async def test_a_202_takes_its_job_from_the_call_that_had_only_found_it() -> None:
    async with bench() as b:
        _, finder, job = await adopted(b)
        b.server.script = names(job)
        owner = await b.submitted(b.request(target="/volume/8"))

        await refused(finder, "TIMEOUT", Delivery.MAYBE)
        b.server.end(job)
        await b.pass_time(15)
        assert (await within(owner)).status == 204


@pytest.mark.parametrize("finder_first", [True, False])
async def test_after_a_restart_a_job_still_is_that_of_the_call_that_was_told_so(finder_first: bool) -> None:
    async with bench() as b:
        request, finder, job = await adopted(b)
        await b.restart()
        with pytest.raises(NotConnected):
            await within(finder)
        note = b.ctx.checkpoints[request.call_id]
        b.ctx.checkpoints.clear()
        loop = asyncio.get_running_loop()
        held = [loop.create_task(b.adapter.resume(request, note))] if finder_first else []
        for _ in range(20):
            await asyncio.sleep(0)
        b.server.script = names(job)
        owner = await b.submitted(b.request(target="/volume/8"))
        if not held:
            held = [loop.create_task(b.adapter.resume(request, note))]

        await refused(held[0], "TIMEOUT", Delivery.MAYBE)
        assert not owner.done()
        owner.cancel()


# -- after a restart --------------------------------------------------------------------------------------


async def test_calls_that_are_looked_for_after_a_restart_stand_in_line_and_own_jobs_all_the_same() -> None:
    async with bench(inflight=1) as b:
        sent_at = b.clock.now()
        targets = [BY_ID, "/volume/8", "/volume/9"]
        requests = [b.request(target=target) for target in targets]
        for request in requests:
            b.server.make(Heard("PATCH", "/api" + request.target, {}, b"", None), HOUR)  # type: ignore[arg-type]
        b.clock.advance(5)
        loop = asyncio.get_running_loop()
        held = [loop.create_task(b.adapter.recover(request, sent_at)) for request in requests]
        for _ in range(50):
            await asyncio.sleep(0)
        assert b.adapter.health()["open"] == 1
        assert b.adapter.window("array") == 0

        async with asyncio.timeout(10):
            while len(b.ctx.checkpoints) < 3:
                b.clock.advance(0.25)
                for _ in range(50):
                    await asyncio.sleep(0)
        assert {decoded(note).job for note in b.ctx.checkpoints.values()} == set(b.server.jobs)
        assert b.adapter.window("array") == 1
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)


async def test_of_two_alike_that_stand_in_line_after_a_restart_neither_takes_the_job() -> None:
    async with bench(inflight=1) as b:
        sent_at = b.clock.now()
        requests = [b.request(target=BY_ID), b.request(target=BY_NAME)]
        takes(b, Heard("PATCH", "/api" + BY_ID, {}, b"", None))  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        held = [loop.create_task(b.adapter.recover(request, sent_at)) for request in requests]
        for task in held:
            await until_done(b, task)

        for task in held:
            await refused(task, "TIMEOUT", Delivery.MAYBE)


async def test_who_stands_in_line_after_a_restart_is_let_go_when_the_hub_stops() -> None:
    async with bench(inflight=1) as b:
        loop = asyncio.get_running_loop()
        held = [loop.create_task(b.adapter.recover(b.request(), b.clock.now())) for _ in range(3)]
        for _ in range(20):
            await asyncio.sleep(0)
        await b.restart()

        for task in held:
            with pytest.raises(NotConnected):
                await within(task)
        assert b.adapter.window("array") == 1


async def test_who_stands_in_line_does_so_no_longer_than_its_call_may_last() -> None:
    async with bench(inflight=1) as b:
        b.clock.advance(1)
        await b.server.close()
        over = b.clock.monotonic() + 3
        loop = asyncio.get_running_loop()
        first = loop.create_task(b.adapter.recover(b.request(), b.clock.now()))
        second = loop.create_task(b.adapter.recover(b.request(target="/volume/8", deadline=over), b.clock.now()))
        await until_done(b, second, 4)

        await refused(second, "TIMEOUT", Delivery.MAYBE)
        assert not first.done()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert b.adapter.window("array") == 1


async def test_a_place_that_is_free_goes_to_whoever_stands_in_line_longest_also_for_another_device() -> None:
    slots = Slots(most=1, total=2)
    held = [slots.take("a"), slots.take("b")]
    loop = asyncio.get_running_loop()
    second_a, c, second_c = (loop.create_task(slots.turn(device)) for device in ("a", "c", "c"))
    await asyncio.sleep(0)
    assert (slots.room("a"), slots.room("c"), slots.room("d")) == (0, 0, 0)

    held[1].free()
    assert not second_a.done()
    await within(c)
    second_c.cancel()
    await asyncio.gather(second_c, return_exceptions=True)
    held[0].free()
    (await within(second_a)).free()
    c.result().free()
    assert (slots.total, slots.room("a"), slots.room("c")) == (0, 1, 1)
