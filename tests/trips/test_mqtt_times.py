"""The times that devices give their values: told on, and nothing old answers a read."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters.mqtt.listener.double import Asked, DeviceDouble
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


async def asked_for_its_value(plant: Plant, double: DeviceDouble) -> tuple[Asked, bytes]:
    """The read that begins an observation of the point `t`, and the answer to it: 2."""
    double.hold()
    await plant.hub.observe.want("shop", plant.known("pump"), "/measurepoint/t")
    asked = await double.asked()
    return asked, orjson.dumps({"id": asked.body["id"], "code": 200, "data": {"t": 2}})


async def told(plant: Plant, count: int) -> list[bytes]:
    """The values told, once there are so many."""
    async with asyncio.timeout(PATIENCE):
        while len(events := await plant.events(EventKind.NOTIFICATION)) < count:
            await plant.hub.engine.journal.park([CallId("nobody")])
    return [event.body["payload"] for event in events]


async def test_the_answer_that_begins_an_observation_is_newer_than_a_post_that_came_before_it(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        double = await plant.device("pump")
        asked, answer = await asked_for_its_value(plant, double)
        await post(double, "post", 1, time=ago(plant, 60))
        plant.clock.advance(0.001)
        await asked.say(answer)

        assert await told(plant, 2) == [b"1", b"2"]
        await plant.hub.observe.want("shop", plant.known("pump"), "/measurepoint/t", tell_again=True)
        assert await told(plant, 3) == [b"1", b"2", b"2"]


async def test_a_post_that_came_before_the_answer_is_older_though_the_disk_kept_it_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as plant:
        double = await plant.device("pump")
        asked, answer = await asked_for_its_value(plant, double)
        log, gate, came = plant.hub.engine.log, asyncio.Event(), asyncio.Event()
        append = log.append

        async def slow(*given: Any) -> Any:
            came.set()
            await gate.wait()
            return await append(*given)

        monkeypatch.setattr(log, "append", slow)
        posts = [asyncio.ensure_future(post(double, "post", value)) for value in (0, 1)]
        async with asyncio.timeout(PATIENCE):
            await came.wait()
        await double.settle()
        plant.clock.advance(0.001)
        await asked.say(answer)
        await double.settle()
        gate.set()
        await asyncio.gather(*posts)

        assert sorted(await told(plant, 3)) == [b"0", b"1", b"2"]
        await plant.hub.observe.want("shop", plant.known("pump"), "/measurepoint/t", tell_again=True)
        assert (await told(plant, 4))[-1] == b"2"


async def test_a_post_right_behind_the_answer_that_begins_an_observation_is_newer(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        double = await plant.device("pump")
        asked, answer = await asked_for_its_value(plant, double)
        await asked.say(answer)
        await post(double, "post", 1)
        seen = len(await told(plant, 1))

        await plant.hub.observe.want("shop", plant.known("pump"), "/measurepoint/t", tell_again=True)
        assert (await told(plant, seen + 1))[-1] == b"1"
