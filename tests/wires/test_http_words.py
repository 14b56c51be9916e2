"""What an upstream says of its jobs that is no text or no number, and ends of which it knows nothing itself."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest
from yarl import URL

from adapters.http.shape import POWERSTORE
from adapters.http.told import job_of, loaded
from adapters.http.wire import Answer
from hub.ports.adapter import Delivery
from tests.contracts.adapter_case import refused, within
from tests.wires.http_bench import bench
from tests.wires.test_http_trouble import rows_with

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
NO_WORDS = [
    b'"\\ud800"', b'"\xe9"', b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b'"\x01"', b'"a\\udfff\xff\\ud83d\\ude00"',
]  # fmt: skip


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("value", NO_WORDS)
async def test_a_job_is_told_as_it_ended_whatever_its_message_holds(jobs: int, value: bytes) -> None:
    async with bench() as b:
        b.server.length = HOUR
        tasks = [await b.submitted() for _ in range(jobs)]
        bad = next(iter(b.server.jobs))
        for job in b.server.jobs:
            b.server.end(job, state="FAILED", response_status="422")
        b.server.jobs[bad].row.pop("response_body")
        b.server.script = rows_with(b, bad, b'"response_body"', b'{"messages":[{"message_l10n":' + value + b"}]}")
        await b.pass_time(3)

        answers = await within(asyncio.gather(*tasks))
        assert [answer.status for answer in answers] == [422] * jobs
        (message,) = orjson.loads(answers[0].payload)["messages"]
        assert message["message_l10n"] is None or isinstance(message["message_l10n"], str)


@pytest.mark.parametrize("id", [b'"\\ud800"', b'"\xe9"', b"NaN"])
def test_what_is_no_text_names_no_job(id: bytes) -> None:
    assert job_of(POWERSTORE, Answer(202, {}, b'{"id":' + id + b"}"), URL("http://127.0.0.1/api/volume")) is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 5000 + b"]" * 5000, b'{"a":'])
def test_what_is_no_json_stays_none(body: bytes) -> None:
    assert loaded(body) is None


@pytest.mark.parametrize("row", [{"state": "UNRECOVERABLE_FAILED"}, {"state": None, "phase": "Unrecoverable_Failed"}])
@pytest.mark.parametrize("jobs", [1, 2])
async def test_a_hub_behind_that_does_not_know_what_became_of_a_change_is_believed(
    row: dict[str, Any], jobs: int
) -> None:
    async with bench(jobs="hub") as b:
        b.server.length = HOUR
        tasks = [await b.submitted() for _ in range(jobs)]
        for job in b.server.jobs:
            b.server.end(job, response_status="500", response_body={"messages": []}, **row)
        await b.pass_time(3)

        for task in tasks:
            await refused(task, "TIMEOUT", Delivery.DELIVERED)
        assert b.adapter.health()["upstreams"]["array"]["jobs"] == 0


@pytest.mark.parametrize("state", ["FAILED", "COMPLETED"])
async def test_a_hub_behind_that_knows_is_believed_too(state: str) -> None:
    async with bench(jobs="hub") as b:
        b.server.length = HOUR
        task = await b.submitted()
        b.server.end(next(iter(b.server.jobs)), state=state, response_status="200" if state == "COMPLETED" else "422")
        await b.pass_time(2)

        assert (await within(task)).status == (200 if state == "COMPLETED" else 422)


async def test_words_for_an_end_that_nobody_knows_are_settings() -> None:
    async with bench(job={"unknown": ["Lost"], "failed": ["FAILED"]}) as b:
        b.server.length = HOUR
        task = await b.submitted()
        b.server.end(next(iter(b.server.jobs)), state="LOST")
        await b.pass_time(2)

        await refused(task, "TIMEOUT", Delivery.DELIVERED)
