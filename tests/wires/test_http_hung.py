"""An upstream that takes connections and says nothing is away; one that is slow with something is not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from adapters.http.double import Heard
from hub.model.device import Presence
from hub.ports.adapter import Delivery, EventKind
from tests.contracts.adapter_case import refused
from tests.wires.http_bench import Bench, bench
from tests.wires.test_http_back import until_so

pytestmark = pytest.mark.anyio


def plain(**more: Any) -> Any:
    return bench({"paths": True}, jobs="none", inflight=100, **more)


async def hung(b: Bench, path: str, seconds: float = 5, calls: int = 1) -> None:
    """Calls that their upstream never answers."""
    before = len(b.server.heard)
    deadline = b.clock.monotonic() + seconds
    tasks = [b.begin(b.request("GET", path, deadline=deadline)) for _ in range(calls)]
    await b.server.until(lambda: len(b.server.heard) == before + calls)
    b.clock.advance(seconds)
    for task in tasks:
        await refused(task, "TIMEOUT", Delivery.MAYBE)


def mute(b: Bench, *paths: str) -> None:
    """Let the upstream answer nothing that begins so."""

    async def script(heard: Heard) -> bool:
        return heard.path.startswith(paths)

    b.server.script = script



async def test_one_that_accepts_and_never_answers_is_away_after_five_requests() -> None:
    async with plain() as b:
        await b.call("GET", "/x")
        mute(b, "/")
        for failures in range(1, 6):
            await hung(b, "/x")
            told = b.adapter.health()["upstreams"]["array"]
            assert (told["failures"], told["state"]) == (failures, "up" if failures < 5 else "away")
        await b.ctx.seen(EventKind.OFFLINE, "array")
        assert (b.adapter.health()["state"], b.adapter.window("array")) == ("degraded", 0)
        await refused(b.adapter.call(b.request("GET")), "NOT_CONNECTED", Delivery.NOT_SENT)

        b.server.script = None
        b.clock.advance(1)
        await b.ctx.seen(EventKind.AWAKE, "array", 2)

        assert (b.adapter.health()["state"], b.adapter.presence("array")) == ("up", Presence.ONLINE)
        assert (await b.call("GET")).status == 200


async def test_one_that_hung_while_it_was_looked_for_is_back_soon_after_it_is_well() -> None:
    async with plain() as b:
        mute(b, "/")
        for _ in range(5):
            await hung(b, "/x")
        await b.ctx.seen(EventKind.OFFLINE, "array")
        upstream, b.server.mute = b.places[0].upstream, True
        before = upstream.requests
        await until_so(b, lambda: upstream.requests > before, 5)
        await until_so(b, lambda: False, 0.5)  # the look is on its way
        b.server.mute = False

        assert await until_so(b, lambda: not upstream.breaker.open, 60) <= 8


@pytest.mark.parametrize(("failures", "needed"), [(1, 5), (7, 7)])
async def test_one_slow_request_is_not_enough_where_one_failed_connection_is(failures: int, needed: int) -> None:
    async with plain(failures=failures) as b:
        mute(b, "/")
        for _ in range(needed - 1):
            await hung(b, "/x")
        assert b.adapter.health()["upstreams"]["array"]["state"] == "up"
        await hung(b, "/x")
        assert b.adapter.health()["upstreams"]["array"]["state"] == "away"


async def test_requests_that_are_never_answered_beside_others_that_are_keep_nobody_from_the_upstream() -> None:
    async with plain() as b:
        mute(b, "/api/slow")
        for _ in range(8):
            await hung(b, "/slow")
            await b.call("GET", "/fast")

        assert b.adapter.health()["upstreams"]["array"]["state"] == "up"


async def test_requests_that_time_out_together_say_nothing_where_another_was_answered_meanwhile() -> None:
    async with plain() as b:
        mute(b, "/api/slow")
        deadline = b.clock.monotonic() + 5
        tasks = [b.begin(b.request("GET", "/slow", deadline=deadline)) for _ in range(8)]
        await b.server.until(lambda: len(b.server.heard) == 8)
        await b.call("GET", "/fast")
        b.clock.advance(5)
        await asyncio.gather(*tasks, return_exceptions=True)

        told = b.adapter.health()["upstreams"]["array"]
        assert (told["failures"], told["state"]) == (0, "up")


async def test_callers_without_patience_say_nothing_of_the_upstream() -> None:
    async with plain() as b:
        mute(b, "/")
        await hung(b, "/x", seconds=0.2, calls=8)

        assert b.adapter.health()["upstreams"]["array"]["state"] == "up"


async def test_a_job_upstream_whose_questions_all_hang_is_away() -> None:
    async with bench(answer=5) as b:
        b.server.length = timedelta(hours=1)
        task = await b.submitted()
        mute(b, "/")
        async with asyncio.timeout(10):
            while b.adapter.health()["upstreams"]["array"]["state"] != "away":
                b.clock.advance(0.5)
                for _ in range(40):
                    await asyncio.sleep(0)

        assert b.adapter.health()["state"] == "degraded"
        task.cancel()
