"""The times that devices give their values: told on, and nothing old answers a read."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters.mqtt.listener.double import DeviceDouble
from hub.delivery.envelope import message
from hub.model.event import EventKind
from hub.model.ids import CallId
from tests.trips.mqtt_rig import PATIENCE, Plant, running

pytestmark = pytest.mark.anyio


def ago(plant: Plant, seconds: float) -> int:
    """A time as devices write it."""
    return int((plant.clock.now() - timedelta(seconds=seconds)).timestamp() * 1000)


async def post(double: DeviceDouble, verb: str, value: Any, **more: Any) -> None:
    """Tell a value of the point `t`."""
    assert (await double.request(f"thing/measurepoint/{verb}", {"measurepoints": {"t": value}, **more}))["code"] == 200


async def read(plant: Plant) -> tuple[Any, Any]:
    """What a read of the point says, and for how long that may be kept."""
    call = await plant.submit("pump", method="GET", target="/measurepoint/t")
    outcome = (await plant.ended(call)).outcome
    assert outcome is not None
    return orjson.loads(outcome.payload), outcome.max_age and outcome.max_age.total_seconds()


async def test_a_posted_value_answers_reads_for_its_age_from_the_time_that_the_device_gave(tmp_path: Path) -> None:
    async with running(tmp_path, max_age=60) as plant:
        double = await plant.device("pump")
        double.points = {"t": "asked"}
        await post(double, "post", 1)
        assert await read(plant) == (1, 60)
        await post(double, "post", 2, time=ago(plant, 40))
        assert await read(plant) == (2, 20)
        await post(double, "post", 3, time=ago(plant, -5))
        assert await read(plant) == (3, 60)

        await post(double, "post", 4, time=ago(plant, 60))
        assert await read(plant) == ("asked", None)


@pytest.mark.parametrize("seconds", [0, 30, 86_400])
async def test_what_is_told_as_history_is_not_what_is_now(tmp_path: Path, seconds: float) -> None:
    async with running(tmp_path, max_age=60) as plant:
        double = await plant.device("pump")
        double.points = {"t": "asked"}
        await post(double, "resume", 0, time=ago(plant, seconds))
        assert await read(plant) == ("asked", None)
        await post(double, "post", 1)
        await post(double, "resume", 2, time=ago(plant, seconds))
        answer = await double.request(
            "thing/measurepoint/resume/batch", [{"measurepoints": {"t": 3}, "time": ago(plant, seconds)}]
        )

        assert answer["code"] == 200
        assert await read(plant) == (1, 60)


async def test_the_time_of_a_value_is_told_with_it(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        double = await plant.device("pump")
        double.points = {"t": 0}
        for path in ("/measurepoint/t", "/event/hot"):
            await plant.hub.observe.want("shop", plant.known("pump"), path)
        async with asyncio.timeout(PATIENCE):
            while not await plant.events(EventKind.NOTIFICATION):  # the present value
                await plant.hub.engine.journal.park([CallId("nobody")])
        await post(double, "resume", 1, time=1_700_000_000_123)
        await double.request("thing/event/hot/post", {"events": {"a": 1}, "time": 1_700_000_000_456})
        for nonsense in (None, "yesterday", True, 1e300, -1e300):
            await post(double, "post", 2, time=nonsense)

        told = [message(event)["notifications"][0] for event in await plant.events(EventKind.NOTIFICATION)][1:]
        assert [(item["path"], item.get("device-time")) for item in told] == [
            ("/measurepoint/t", "2023-11-14T22:13:20.123Z"), ("/event/hot", "2023-11-14T22:13:20.456Z"),
            *[("/measurepoint/t", None)] * 5,
        ]  # fmt: skip
