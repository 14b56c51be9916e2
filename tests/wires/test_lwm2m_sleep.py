"""Devices in queue mode: when they count as asleep, and what wakes them."""

from __future__ import annotations

import asyncio

import pytest

from hub.model.device import Presence
from hub.ports.adapter import NotConnected
from tests.wires.lwm2m_field import Field, field

pytestmark = pytest.mark.anyio


def kinds(f: Field) -> list[str]:
    return [event.kind.value for event in f.ctx.events]


async def test_a_device_in_queue_mode_sleeps_after_93_seconds_of_silence() -> None:
    async with field() as f:
        double = await f.device(binding="UQ")
        f.clock.advance(60)
        double.ping()
        await f.turns()
        f.clock.advance(60)
        assert "asleep" not in kinds(f)
        f.clock.advance(40)

        assert kinds(f) == ["registered", "asleep"]
        assert (f.adapter.presence(double.address), f.adapter.window(double.address)) == (Presence.ASLEEP, 0)


async def test_any_message_of_a_sleeping_device_wakes_it() -> None:
    async with field() as f:
        double = await f.device(binding="UQ")
        for say in (double.ping, lambda: asyncio.ensure_future(double.update())):
            f.clock.advance(100)
            await f.turns()
            assert f.adapter.window(double.address) == 0
            say()
            await f.turns()
            assert f.adapter.window(double.address) == 1
        assert kinds(f) == ["registered", "asleep", "awake", "asleep", "updated", "awake"]


async def test_the_first_call_that_a_sleepy_device_does_not_answer_says_that_it_sleeps() -> None:
    async with field() as f:
        double = await f.device(binding="UQ")
        double.hold()
        call = asyncio.ensure_future(f.adapter.call(f.request(double)))
        await double.asked()
        f.clock.advance(30)
        await asyncio.gather(call, return_exceptions=True)

        assert kinds(f)[-1] == "asleep"
        with pytest.raises(NotConnected):
            await f.call(double)
