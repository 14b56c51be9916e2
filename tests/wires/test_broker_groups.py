"""Hubs that share telemetry: what the broker gave to one of them is not lost when that one goes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.mqtt.broker.adapter import BrokerAdapter, create
from adapters.mqtt.broker.double import DeviceDouble
from adapters.mqtt.broker.mosquitto import PROGRAM, Mosquitto
from hub.ports.adapter import EventKind
from tests.contracts.context import ContextDouble
from tests.require import require
from tests.wires.broker_bench import PATIENCE, Bench, bench, turns, until

pytestmark = pytest.mark.anyio

MESSAGES = 400


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    """A broker that keeps as much as comes."""
    require(PROGRAM)
    broker = Mosquitto("max_queued_messages 0")
    broker.start()
    yield broker
    broker.close()


def told(*contexts: ContextDouble) -> Counter[int]:
    return Counter(int(event.payload) for ctx in contexts for event in ctx.of(EventKind.NOTIFICATION))


class Second:
    """Another hub of the group."""

    def __init__(self, b: Bench, table: dict[str, Any], client_id: str = "second") -> None:
        self.ctx = ContextDouble()
        self.adapter: BrokerAdapter = create({**b.rig.table, **table, "client_id": client_id})

    async def __aenter__(self) -> Second:
        await self.adapter.start(self.ctx)
        async with asyncio.timeout(PATIENCE):
            await self.adapter.connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.ctx.release_accept()
        await self.adapter.stop(1.0)


def table(version: int, **more: Any) -> dict[str, Any]:
    return {"telemetry": [{"topic": "shared/{device}/{path}"}], "group": "g", "version": version, **more}


def tell(double: DeviceDouble, numbers: range) -> None:
    for number in numbers:
        double.publish(f"shared/{double.address}/{number % 7}", b"%d" % number, 1)


async def stopped(second: Second) -> None:
    """The hub stops; its disk gives way while it does."""
    stopping = asyncio.create_task(second.adapter.stop(1.0))
    await turns(50)
    second.ctx.release_accept()
    async with asyncio.timeout(PATIENCE):
        await stopping


@pytest.mark.parametrize(("version", "client_id"), [(5, "second"), (4, "second"), (5, "")])
async def test_a_hub_of_a_group_that_stops_under_load_loses_nothing(
    broker: Mosquitto, version: int, client_id: str
) -> None:
    more = table(version)
    async with bench("template", broker=broker, **more) as b, Second(b, more, client_id) as second:
        double = await b.rig.device(version=4)
        second.ctx.hold_accept()
        tell(double, range(MESSAGES // 2))
        await until(lambda: second.adapter.health()["waiting"] > 10)
        stopping = asyncio.create_task(stopped(second))
        tell(double, range(MESSAGES // 2, MESSAGES))
        await stopping

        await until(lambda: set(told(b.ctx, second.ctx)) == set(range(MESSAGES)))
        await double.flushed()
        assert told(b.ctx, second.ctx) == Counter(range(MESSAGES))
        assert min(len(told(b.ctx)), len(told(second.ctx))) > 10


async def test_what_a_hub_of_a_group_had_not_stored_when_it_was_killed_waits_for_it(broker: Mosquitto) -> None:
    more = table(5)
    async with bench("template", broker=broker, **more) as b, Second(b, more) as second:
        double = await b.rig.device(version=4)
        second.ctx.hold_accept()
        tell(double, range(MESSAGES // 2))
        await second.ctx.blocked()
        for link in second.adapter.links:  # no process any more, and no word
            link.cut()
        tell(double, range(MESSAGES // 2, MESSAGES))
        await double.flushed()
        for task in list(second.adapter._tasks):
            task.cancel()
        second.ctx.release_accept()

        async with Second(b, more) as again:
            await until(lambda: set(told(b.ctx, again.ctx)) == set(range(MESSAGES)))
            assert told(b.ctx, again.ctx) == Counter(range(MESSAGES))


async def test_a_group_waits_for_nobody_who_has_no_lasting_name(broker: Mosquitto) -> None:
    more = table(5)
    async with bench("template", broker=broker, **more) as b, Second(b, more, "") as second:
        double = await b.rig.device(version=4)
        for link in second.adapter.links:
            link.cut()
        await until(lambda: not any(link.up for link in second.adapter.links))
        tell(double, range(100))

        await until(lambda: len(told(b.ctx)) == 100)
