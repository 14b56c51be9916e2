"""A result that is fetched from where its job left it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from adapters.http.double import Heard
from hub.ports.adapter import Delivery
from tests.contracts.adapter_case import refused
from tests.wires.http_bench import bench
from tests.wires.test_http_lost import until_done

pytestmark = pytest.mark.anyio


async def test_a_result_that_hangs_takes_no_call_beyond_its_deadline() -> None:
    async with bench(jobs="location", job={"state": ""}) as b:
        b.server.length = timedelta(seconds=1)
        request = b.request()
        b.ctx.deadlines[request.call_id] = b.clock.monotonic() + 15
        task = await b.submitted(request)
        hung = asyncio.Event()

        async def hang(heard: Heard) -> bool:
            if "/status/" in heard.path:
                await heard.answer(303, headers={"Location": "/api/results/1"})
            elif heard.method == "GET":
                hung.set()
            return heard.method == "GET"

        b.server.script = hang
        async with asyncio.timeout(5):
            while not hung.is_set():
                b.clock.advance(0.5)
                for _ in range(50):
                    await asyncio.sleep(0)
        await until_done(b, task, 20)

        await refused(task, "TIMEOUT", Delivery.DELIVERED)
