"""What a hub knows again after it was killed: registrations, observation tokens, message ids."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.lwm2m.double import DeviceDouble
from adapters.lwm2m.memory import recalled, remembered
from hub.ports.adapter import (
    EventKind,
    ObserveSpec,
)
from tests.wires.lwm2m_context import LwM2MContext
from tests.wires.lwm2m_field import Field, field

pytestmark = pytest.mark.anyio


async def observe(f: Field, double: DeviceDouble, target: str = "/observable", **params: str) -> Any:
    spec = ObserveSpec(double.address, target, params)
    return await f.adapter.observe(spec, f.clock.monotonic() + 30)


async def test_registrations_and_observations_go_on_after_a_restart() -> None:
    async with field() as f:
        double, sleepy = await f.device(lifetime=600), await f.device(binding="UQ")
        await observe(f, double)
        tokens = set(double.observing)
        f.clock.advance(5)
        await f.restart()

        await f.turns()
        assert [(event.kind, event.device) for event in f.ctx.events] == [(EventKind.ASLEEP, sleepy.address)]
        assert f.adapter.window(double.address) == 1
        assert f.adapter.window(sleepy.address) == 0
        await double.notify([b"with the old token"])
        assert (await f.ctx.seen(EventKind.NOTIFICATION))[0].payload == b"with the old token"
        assert (await f.call(double, payload=b"x")).payload == b"x"
        await double.update()
        _, observation = await observe(f, double)
        assert observation.active
        assert set(double.observing) == tokens
        sleepy.ping()
        await f.turns()
        assert f.adapter.window(sleepy.address) == 1
        f.clock.advance(700)
        await f.turns()
        assert [e.kind.value for e in f.ctx.events if e.device == double.address][-1] == "expired"


async def test_what_ended_while_the_hub_was_down_is_told_afterwards() -> None:
    async with field() as f:
        await f.device(lifetime=60)
        kept = dict(f.ctx.kept)
        await f.adapter.stop(1)
        f.clock.advance(100)
        f.ctx.kept.update(kept)
        await f.restart()
        f.clock.advance(1.5)
        await f.turns()
        assert [event.kind.value for event in f.ctx.events] == ["expired"]


async def test_a_damaged_memory_costs_one_device_only() -> None:
    async with field() as f:
        double = await f.device()
        f.ctx.kept["broken"] = b'[1,"x"]'
        f.ctx.kept["other"] = b'[99,"","",[],null,1,"",0,[],0,[]]'
        await f.restart()
        assert f.adapter.health()["devices"] == 1
        assert f.adapter.window(double.address) == 1


async def test_ten_thousand_registrations_are_known_again_within_two_seconds() -> None:
    async with field() as f:
        double = await f.device()
        parts = f.adapter._parts
        assert parts is not None
        pattern = f.ctx.kept[double.address].decode()
        for n in range(10_000):
            f.ctx.kept[f"many-{n}"] = pattern.replace(double.location[1], f"loc-{n}").replace("40001", str(n)).encode()
        async with asyncio.timeout(2):
            await f.restart()
        assert f.adapter.health()["devices"] == 10_001
        assert f.ctx.events == []


async def test_message_ids_go_on_after_a_restart() -> None:
    async with field() as f:
        double = await f.device()
        parts = f.adapter._parts
        assert parts is not None
        registration = parts.registry.at(double.address)
        assert registration is not None
        used = {registration.next_mid(f.clock) for _ in range(100)}
        f.clock.advance(1)
        memory = remembered(registration, f.clock)

        async def nothing(observed: Any) -> None: ...

        again = recalled(double.address, memory, f.clock, 1, nothing)
        assert used.isdisjoint({again.next_mid(f.clock) for _ in range(100)})


async def test_a_device_that_wakes_while_it_is_told_to_sleep_is_told_to_be_awake_after_it() -> None:
    async with field() as f:
        sleepy = await f.device(binding="UQ")
        f.ctx = LwM2MContext(f.clock, f.ctx.kept)
        await f.adapter.stop(0)
        f.adapter = f._make()
        f.ctx.hold_accept()
        await f.adapter.start(f.ctx)
        await f.ctx.blocked()
        sleepy.ping()
        await f.turns()
        f.ctx.release_accept()
        await f.turns()

        assert [event.kind for event in f.ctx.events][-2:] == [EventKind.ASLEEP, EventKind.AWAKE]
        assert f.adapter.window(sleepy.address) == 1
