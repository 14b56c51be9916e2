"""A bad network: datagrams lost, doubled, late and out of order, devices that change their port."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from adapters.lwm2m.double import DeviceDouble
from adapters.lwm2m.net import MemoryEndpoint
from hub.ports.adapter import CallError, DeviceRequest, DeviceResponse
from tests.wires.lwm2m_field import Field, field

pytestmark = pytest.mark.anyio

METHODS = ("POST", "PUT", "POST", "GET")


class Driven:
    """Calls to one device, one after the other, each with what became of it."""

    def __init__(self, field: Field, double: DeviceDouble, calls: int) -> None:
        self.field = field
        self.double = double
        self.calls = calls
        self.outcomes: dict[str, tuple[str, DeviceResponse | CallError]] = {}
        self.mid_call = 0

    async def run(self) -> None:
        for number in range(self.calls):
            request = self.field.request(self.double, METHODS[number % 4], payload=b"%d" % number)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._call(request))
                if number % 10 == 9:
                    # While the call is under way: the request, or its answer, is lost on the way to the old port.
                    await asyncio.sleep(0)
                    self.mid_call += self.field.adapter.window(self.double.address) == 0
                    await self.move()
            if number % 10 == 5:
                await self.move()

    async def _call(self, request: DeviceRequest) -> None:
        try:
            outcome: DeviceResponse | CallError = await self.field.adapter.call(request)
        except CallError as error:
            outcome = error
        self.outcomes[request.call_id] = (request.method, outcome)

    async def move(self) -> None:
        """Behind another port from now on; nobody tells the hub before the next Update arrives."""
        self.double.move(MemoryEndpoint(self.field.net))
        await self.double.update()


async def test_of_10000_calls_on_a_bad_network_none_is_carried_out_twice_and_each_has_an_outcome() -> None:
    devices, calls = 200, 50
    async with field() as f:
        doubles = [await f.device() for _ in range(devices)]
        for double in doubles[::3]:
            double.separate = True
        f.net.loss, f.net.doubling, f.net.delay = 0.2, 0.1, 1.5
        driven = [Driven(f, double, calls) for double in doubles]

        failed = await f.passing(each.run() for each in driven)

        assert failed == [None] * devices
        assert f.net.lost > devices * calls * 0.2
        outcomes = {call: outcome for each in driven for call, outcome in each.outcomes.items()}
        executed = Counter(call for double in doubles for call in double.executed)
        assert len(outcomes) == devices * calls
        assert [call for call, n in executed.items() if n > 1] == []
        for call, (method, outcome) in outcomes.items():
            if isinstance(outcome, DeviceResponse):
                assert outcome.status == 200
                assert executed[call] == 1, method
        answered = sum(isinstance(outcome, DeviceResponse) for _, outcome in outcomes.values())
        assert answered > 0.8 * len(outcomes)
        assert sum(each.mid_call for each in driven) == devices * calls // 10
        assert len(f.adapter._parts.exchanges) == 0  # type: ignore[union-attr]


async def test_a_lost_request_is_repeated_until_it_is_answered() -> None:
    async with field() as f:
        double = await f.device()
        f.net.loss = 1.0
        call = asyncio.ensure_future(f.adapter.call(f.request(double, payload=b"x")))
        await f.turns()
        f.net.loss = 0.0
        f.clock.advance(3.01)

        assert (await call).payload == b"x"
        assert len(double.executed) == 1
