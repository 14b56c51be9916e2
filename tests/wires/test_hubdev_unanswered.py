"""Calls that a dial-in device need not answer: a CALL that says so, and an answer that is nobody's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.websocket.double import DeviceDouble
from adapters.websocket.frame import Result
from adapters.websocket.rig import Rig, create_rig
from hub.ports.adapter import Delivery, EventKind
from tests.contracts.adapter_case import Case, refused, within
from tests.contracts.context import ContextDouble

pytestmark = pytest.mark.anyio


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    rig = create_rig(tmp_path)
    ctx = ContextDouble()
    await rig.open(ctx)
    try:
        yield Case(rig, ctx, tmp_path)
    finally:
        ctx.release_accept()
        await within(rig.close(), 10)
    assert ctx.tasks == 0


def rig_of(case: Case) -> Rig:
    assert isinstance(case.rig, Rig)
    return case.rig


async def sent(case: Case, double: DeviceDouble, payload: bytes = b"x") -> None:
    request = case.request(double, payload=payload, options={"no_response": True})
    response = await within(case.adapter.call(request))
    assert (response.status, response.payload, response.native) == (200, b"", {"sent": True})


async def test_the_call_says_that_no_answer_is_wanted_and_its_sender_waits_for_none(case: Case) -> None:
    double = await rig_of(case).device()
    await sent(case, double)
    await double.until(lambda: len(double.unanswered) == 1)

    [call] = double.unanswered
    assert (call.payload, call.options["noresp"]) == (b"x", True)
    assert case.adapter.window(double.address) == 1


async def test_a_device_that_answers_all_the_same_is_not_listened_to(case: Case) -> None:
    double = await rig_of(case).device()
    await sent(case, double)
    await double.until(lambda: len(double.unanswered) == 1)
    await double.send(Result(double.unanswered[0].id, 200, b"unwanted"))
    await case.barrier(double)

    assert case.ctx.of(EventKind.LATE_RESPONSE) == []


async def test_a_device_whose_window_is_used_up_takes_none(case: Case) -> None:
    double = await rig_of(case).device()
    _, task, asked = await case.holding(double)
    request = case.request(double, options={"no_response": True})
    await refused(asyncio.create_task(case.adapter.call(request)), "QUEUE_IS_FULL", Delivery.NOT_SENT)
    await asked.answer()
    await within(task)


async def test_a_device_that_is_not_there_takes_none(case: Case) -> None:
    double = await rig_of(case).device()
    await double.close()
    await case.ctx.seen(EventKind.OFFLINE, double.address)
    request = case.request(double, options={"no_response": True})
    await refused(asyncio.create_task(case.adapter.call(request)), "NOT_CONNECTED", Delivery.NOT_SENT)
