"""Many EnOS calls in one request: the load finds out what is lost, doubled and refused; the listener's own figures."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from bench.reference import Loop
from bench.row import Lap, Size
from bench.rows import enos, mqtt
from bench.rows.enos import MultiInvokeLoad
from bench.tests.test_losses import KEY, served

SMALL = Size(calls=40, window=20)


class Losing(Loop):
    async def tell(self, calls: list[dict[str, Any]]) -> None:
        await super().tell([call for call in calls if not call["requestId"].endswith("7")])


class Doubling(Loop):
    async def tell(self, calls: list[dict[str, Any]]) -> None:
        await super().tell([*calls[:1], *calls])


class Refusing(Loop):
    async def many(self, request: Request) -> Response:
        return Response(b'{"status":9999,"msg":"internal error"}', media_type="application/json")


async def lap(loop: Loop) -> Lap:
    async with served(loop, MultiInvokeLoad, SMALL) as made:
        return await made.verify(await made.lap())


@pytest.mark.anyio
async def test_a_server_that_does_its_work_is_clean() -> None:
    done = await lap(Loop(KEY))

    assert done.clean and done.units == 40, done


@pytest.mark.anyio
async def test_what_is_lost_doubled_and_refused_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enos, "PATIENCE", 0.2)

    assert (await lap(Losing(KEY))).lost == 2
    assert (await lap(Doubling(KEY))).doubled == 1
    assert (await lap(Refusing(KEY))).failed == {"the request was refused": 1}


@pytest.mark.parametrize(
    ("devices", "calls"), [(300, 600), pytest.param(10_000, 20_000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])]
)
def test_idle_devices_are_held_in_little_memory_and_all_answer(devices: int, calls: int) -> None:
    said = mqtt.measure(devices, calls)

    assert 0 < said["bytes"] < 12 * 1024, said
    assert said["cpu_us"] > 0
