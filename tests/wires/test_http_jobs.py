"""Jobs of an upstream: noted first, asked after politely and together, told as they ended."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.http.double import Heard
from adapters.http.note import decoded
from hub.ports.adapter import Delivery, DeviceTimeout, NotConnected
from tests.contracts.adapter_case import refused, within
from tests.wires.http_bench import bench

pytestmark = pytest.mark.anyio

MINUTE = timedelta(minutes=1)


async def test_a_job_is_noted_and_its_result_is_handed_on() -> None:
    async with bench() as b:
        b.server.length = MINUTE
        request = b.request("POST", "/volume", payload=b'{"name":"v"}')
        task = await b.submitted(request)
        (job,) = b.server.jobs
        assert decoded(b.ctx.checkpoints[request.call_id]).job == job
        b.server.end(job, response_status="201", response_body={"id": "9", "response_type": "job_create_response"})
        await b.pass_time(2)

        response = await within(task)

        assert (response.status, response.native["status"]) == (201, 201)
        assert json.loads(response.payload) == {"id": "9", "response_type": "job_create_response"}
        (change,) = b.changes()
        assert (change.query, change.path) == ({"is_async": "true"}, "/api/volume")


@pytest.mark.parametrize(
    ("row", "status", "payload", "error"),
    [
        ({"response_status": None}, 204, None, None),
        ({"state": None, "phase": "Completed"}, 204, None, None),
        ({"state": "Completed", "response_status": "200", "response_body": {"n": 1}}, 200, {"n": 1}, None),
        ({"state": "FAILED", "response_status": "404", "response_body": {"messages": 1}}, 404, {"messages": 1}, None),
        ({"state": "FAILED", "response_status": None}, 422, None, None),
        ({"state": "UNRECOVERABLE_FAILED", "response_status": None}, 500, None, "UNRECOVERABLE_FAILED"),
        ({"state": "SKIPPED"}, 422, None, "SKIPPED"),
    ],
)
async def test_the_state_tells_how_a_job_ended(
    row: dict[str, Any], status: int, payload: Any, error: str | None
) -> None:
    async with bench() as b:
        b.server.length = MINUTE
        task = await b.submitted()
        b.server.end(next(iter(b.server.jobs)), **row)
        await b.pass_time(2)

        response = await within(task)

        assert (response.status, response.native.get("error")) == (status, error)
        assert (json.loads(response.payload) if response.payload else None) == payload


@pytest.mark.parametrize("state", ["IN_PROGRESS", "FAILING", "QUEUED", "SOMETHING_NEW"])
async def test_any_other_state_is_not_the_end(state: str) -> None:
    async with bench() as b:
        b.server.length = MINUTE
        task = await b.submitted()
        b.server.end(next(iter(b.server.jobs)), state=state)
        await b.pass_time(30)
        assert b.asked() and not task.done()

        b.server.end(next(iter(b.server.jobs)), state="COMPLETED")
        await b.pass_time(15)

        assert (await within(task)).status == 204


async def test_a_thousand_jobs_cost_ten_short_requests_a_round_and_one_round_an_interval() -> None:
    async with bench(requests_per_second=1000) as b:
        b.server.length = timedelta(hours=1)
        tasks = [b.begin(b.request(target=f"/volume/{n}")) for n in range(1000)]
        await within(_all_noted(b, 1000), 60)
        under_way, most = 0, 0

        async def script(heard: Heard) -> bool:
            nonlocal under_way, most
            under_way, most = under_way + 1, max(most, under_way + 1)
            await asyncio.sleep(0)
            under_way -= 1
            return False

        b.server.script = script
        rounds, asked = b.jobs.rounds, len(b.asked())
        await b.pass_time(60, 0.25)

        assert 0 < b.jobs.rounds - rounds <= 60
        assert len(b.asked()) - asked <= 10 * (b.jobs.rounds - rounds)
        assert b.adapter.window("array") == 1000
        assert most == 1
        assert b.server.largest < 4096
        for job in b.server.jobs:
            b.server.end(job)
        await b.pass_time(13, 0.25)
        assert [response.status for response in await within(asyncio.gather(*tasks))] == [204] * 1000
        assert len(b.changes()) == 1000


async def _all_noted(b: Any, count: int) -> None:
    while len(b.ctx.checkpoints) < count:
        b.ctx.checkpointed.clear()
        await b.ctx.checkpointed.wait()


async def test_jobs_that_come_one_by_one_cost_no_more_than_one_round_an_interval() -> None:
    async with bench() as b:
        b.server.length = timedelta(hours=1)
        tasks = []
        for _ in range(100):
            tasks.append(await b.submitted())
            await b.pass_time(0.1, 0.1)

        assert 5 <= len(b.asked()) <= 11
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_questions_become_rare_while_a_job_stays_at_work() -> None:
    async with bench() as b:
        b.server.length = timedelta(hours=2)
        task = await b.submitted()
        await b.pass_time(60)
        first_minute = len(b.asked())
        await b.pass_time(60)

        assert 8 <= first_minute <= 14
        assert 4 <= len(b.asked()) - first_minute <= 9
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        asked = len(b.asked())
        await b.pass_time(60)
        assert len(b.asked()) == asked  # nobody waits


async def test_an_estimate_of_the_upstream_is_believed() -> None:
    async with bench() as b:
        b.server.estimates, b.server.length = True, timedelta(seconds=10)
        task = await b.submitted()
        await b.pass_time(9)
        assert len(b.asked()) == 1

        await b.pass_time(2)

        assert (await within(task)).status == 204
        assert len(b.asked()) == 2


async def test_an_upstream_that_asks_for_patience_gets_it() -> None:
    async with bench() as b:
        b.server.length = timedelta(seconds=5)
        task = await b.submitted()

        async def busy(heard: Heard) -> bool:
            await heard.json(503, {"messages": []}, {"Retry-After": "40"})
            return True

        b.server.script = busy
        await b.pass_time(39)
        assert len(b.asked()) == 1
        b.server.script = None
        await b.pass_time(3)

        assert (await within(task)).status == 204


async def test_a_question_that_is_not_answered_is_given_up_and_asked_again() -> None:
    async with bench(answer=20) as b:
        b.server.length = timedelta(seconds=1)
        task = await b.submitted()
        hung = asyncio.Event()

        async def hang(heard: Heard) -> bool:
            hung.set()
            return True

        b.server.script = hang
        b.clock.advance(1)
        await within(hung.wait())
        b.server.script = None
        b.clock.advance(20)
        await b.pass_time(5)

        assert (await within(task)).status == 204


async def test_an_upstream_that_answers_slowly_is_asked_no_second_time_meanwhile() -> None:
    async with bench() as b:
        b.server.length = timedelta(hours=1)
        tasks = [await b.submitted() for _ in range(3)]
        held: list[Heard] = []

        async def slowly(heard: Heard) -> bool:
            if heard.method == "GET":
                held.append(heard)
            return heard.method == "GET"

        b.server.script = slowly
        b.clock.advance(1)
        await b.server.until(lambda: bool(held))
        for _ in range(60):
            b.clock.advance(0.5)
            for _ in range(20):
                await asyncio.sleep(0)
        assert len(held) == 1

        await held[0].json(200, [{"id": job, "state": "COMPLETED"} for job in b.server.jobs])
        assert [response.status for response in await within(asyncio.gather(*tasks))] == [204] * 3


async def test_a_flood_in_place_of_an_answer_takes_no_memory_and_costs_the_other_jobs_nothing() -> None:
    async with bench() as b:
        b.server.length = timedelta(hours=1)
        flooded, other = await b.submitted(), await b.submitted()
        first, second = b.server.jobs
        sent = 0

        async def flood(heard: Heard) -> bool:
            nonlocal sent
            if heard.method != "GET" or first not in heard.target:
                return False
            await heard.send(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
            while not heard.writer.transport.is_closing():
                await heard.send(b" " * 65536)
                sent += 65536
            return True

        b.server.script = flood
        b.server.end(second)
        async with asyncio.timeout(20):
            while not (other.done() and flooded.done()):
                b.clock.advance(0.25)
                await asyncio.sleep(0)

        assert (await other).status == 204
        # What became of it is in what cannot be read, also where its result is not asked for: nobody can tell.
        await refused(flooded, "TIMEOUT", Delivery.DELIVERED)
        assert sent < 60 * 1024 * 1024


async def test_a_job_that_its_upstream_forgot_is_asked_for_singly_once_and_then_unknown() -> None:
    async with bench() as b:
        b.server.length = MINUTE
        forgotten, other = await b.submitted(), await b.submitted()
        gone = next(iter(b.server.jobs))
        del b.server.jobs[gone]
        await b.pass_time(3)

        await refused(forgotten, "TIMEOUT", Delivery.DELIVERED)
        assert len(b.asked(f"/api/job/{gone}")) == 1
        assert not other.done()
        other.cancel()


async def test_a_job_that_only_a_list_leaves_out_is_not_given_up() -> None:
    async with bench() as b:
        b.server.length = timedelta(seconds=1)
        tasks = [await b.submitted(), await b.submitted()]

        async def nothing(heard: Heard) -> bool:
            if "id" in heard.query:
                await heard.json(200, [])
                return True
            return False

        b.server.script = nothing
        await b.pass_time(4)

        assert [response.status for response in await within(asyncio.gather(*tasks))] == [204, 204]


async def test_where_many_cannot_be_asked_for_at_once_they_are_asked_for_singly() -> None:
    async with bench() as b:
        b.server.length = timedelta(seconds=1)
        tasks = [await b.submitted() for _ in range(5)]

        async def single(heard: Heard) -> bool:
            if "id" in heard.query:
                await heard.json(400, {"messages": []})
                return True
            return False

        b.server.script = single
        await b.pass_time(4)

        assert {response.status for response in await within(asyncio.gather(*tasks))} == {204}
        lists = [heard.query["id"].count(",") + 1 for heard in b.asked() if "id" in heard.query]
        assert lists == [5, 2]


async def test_a_list_that_is_too_long_is_asked_for_in_parts() -> None:
    async with bench() as b:
        b.server.length = timedelta(seconds=1)
        tasks = [await b.submitted() for _ in range(8)]
        sizes = []

        async def flood(heard: Heard) -> bool:
            count = heard.query.get("id", "").count(",") + 1
            sizes.append(count)
            if "id" not in heard.query or count <= 2:
                return False
            await heard.send(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
            for _ in range(1600):
                if heard.writer.transport.is_closing():
                    break
                await heard.send(b" " * 65536)
            heard.cut()
            return True

        b.server.script = flood
        await b.pass_time(20)

        assert {response.status for response in await within(asyncio.gather(*tasks))} == {204}
        assert sizes[:2] == [8, 4]


async def test_a_job_that_ends_in_a_further_job_is_followed_and_noted() -> None:
    async with bench() as b:
        b.server.length = MINUTE
        request = b.request()
        task = await b.submitted(request)
        (first,) = b.server.jobs
        second = b.server.make(b.changes()[0], MINUTE)
        b.server.end(
            first, response_status="202", response_body={"id": second.id, "response_type": "job_job_response"}
        )
        await b.pass_time(2)
        assert decoded(b.ctx.checkpoints[request.call_id]).job == second.id
        assert not task.done()
        b.server.end(second.id, response_status="200", response_body={"n": 2})
        await b.pass_time(15)

        assert json.loads((await within(task)).payload) == {"n": 2}


async def test_jobs_that_follow_each_other_without_end_are_left() -> None:
    async with bench() as b:
        b.server.length = MINUTE
        task = await b.submitted()
        (job,) = b.server.jobs
        b.server.end(job, response_status="202", response_body={"id": job, "response_type": "job_job_response"})
        await b.pass_time(20)

        await refused(task, "TIMEOUT", Delivery.DELIVERED)


async def test_a_restarted_hub_asks_on_and_submits_nothing() -> None:
    async with bench() as b:
        b.server.length = timedelta(seconds=30)
        request = b.request()
        task = await b.submitted(request)
        await b.restart()
        with pytest.raises(NotConnected):
            await within(task)
        b.clock.advance(3600)
        request = replace(request, deadline=b.clock.monotonic() + 60)

        response = await within(b.adapter.resume(request, b.ctx.checkpoints[request.call_id]))

        assert response.status == 204
        assert len(b.changes()) == 1


async def test_an_answer_at_once_is_the_result() -> None:
    async with bench() as b:
        assert (await b.call("PATCH")).native["status"] == 200
        assert b.ctx.checkpoints == {}


async def test_a_refusal_is_final_and_in_the_upstreams_own_words() -> None:
    async with bench() as b:

        async def refuse(heard: Heard) -> bool:
            await heard.json(422, {"messages": [{"code": "0xE0A07001000D"}]})
            return True

        b.server.script = refuse
        response = await b.call()

        assert (response.status, json.loads(response.payload)["messages"][0]["code"]) == (422, "0xE0A07001000D")
        assert len(b.changes()) == 1


@pytest.mark.parametrize(("headers", "pause"), [({}, 5.0), ({"Retry-After": "17"}, 17.0)])
async def test_a_busy_upstream_is_to_be_tried_again(headers: dict[str, str], pause: float) -> None:
    async with bench() as b:

        async def busy(heard: Heard) -> bool:
            await heard.json(503, {"messages": []}, headers)
            return True

        b.server.script = busy

        assert (await b.call()).native["retry_after"] == pause


async def test_other_shapes_are_settings() -> None:
    job = {"state": "zustand", "body": "", "done": ["Fertig"], "failed": ["Kaputt"], "status": "code"}
    async with bench(jobs="location", job=job) as b:
        rows = [{"zustand": "laeuft"}, {"zustand": "fertig", "n": 1}, {"zustand": "kaputt", "code": 409}]

        async def talk(heard: Heard) -> bool:
            if heard.method == "GET":
                await heard.json(200, rows[int(heard.path.rpartition("/")[2])])
            else:
                await heard.answer(202, headers={"Location": f"../runs/{heard.body.decode()}", "Retry-After": "2"})
            return True

        b.server.script = talk
        tasks = [await b.submitted(b.request("POST", payload=b"%d" % n)) for n in range(3)]
        await b.pass_time(1.5)
        assert b.asked("/") == []  # Retry-After of the 202
        await b.pass_time(3)

        done, failed = await within(asyncio.gather(*tasks[1:]))
        assert (done.status, json.loads(done.payload)["n"]) == (200, 1)
        assert failed.status == 409
        assert not tasks[0].done()
        assert {heard.path.rpartition("/")[0] for heard in b.asked("/")} == {"/api/runs"}
        tasks[0].cancel()


async def test_a_result_is_fetched_from_where_the_job_says() -> None:
    async with bench(jobs="location", job={"state": ""}) as b:

        async def talk(heard: Heard) -> bool:
            match heard.path:
                case "/api/status/1":
                    await heard.answer(303, headers={"Location": "/api/results/1"})
                case "/api/results/1":
                    await heard.answer(200, b"the result")
                case _:
                    await heard.answer(202, headers={"Location": "/api/status/1"})
            return True

        b.server.script = talk
        task = await b.submitted()
        await b.pass_time(2)

        assert (await within(task)).payload == b"the result"


async def test_a_status_address_on_another_server_is_not_asked() -> None:
    async with bench(jobs="location") as b:

        async def away(heard: Heard) -> bool:
            await heard.answer(202, headers={"Location": "http://127.0.0.1:1/status/1"})
            return True

        b.server.script = away

        await refused(b.adapter.call(b.request()), "TIMEOUT", Delivery.MAYBE)
        assert len(b.server.heard) == 1


@pytest.mark.parametrize("status", ["401", "403"])
async def test_a_job_that_the_upstream_refused_to_the_hub_is_told_as_its_refusal(status: str) -> None:
    async with bench() as b:
        b.server.length = timedelta(0)
        task = await b.submitted()
        (job,) = b.server.jobs
        b.server.end(job, state="FAILED", response_status=status, response_body={"messages": [{"code": "0x1"}]})
        await b.pass_time(2)
        response = await within(task)

        assert (response.status, response.native["status"]) == (503, int(status))
        assert response.native["error"] == "UPSTREAM_REFUSED"
        assert json.loads(response.payload)["messages"][0]["code"] == "0x1"


async def test_a_deadline_is_told_as_delivered() -> None:
    async with bench() as b:
        b.server.length = timedelta(hours=3)
        request = b.request()
        b.ctx.deadlines[request.call_id] = b.clock.monotonic() + 60
        task = await b.submitted(request)
        b.clock.advance(60)

        with pytest.raises(DeviceTimeout) as told:
            await within(task)
        assert told.value.delivery is Delivery.DELIVERED
