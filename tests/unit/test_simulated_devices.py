"""The simulated devices: what the built-in models answer, and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.simulated.adapter import SimulatedAdapter, create
from adapters.simulated.reports import LINES
from hub.model.device import Presence
from hub.ports.adapter import (
    CallError,
    Delivery,
    DeviceRequest,
    DeviceResponse,
    EventKind,
    NoSuchResource,
    ObserveSpec,
)
from tests.clock import ManualClock
from tests.contracts.context import ContextDouble

pytestmark = pytest.mark.anyio

LAMP = "015f2fa34d310000000000010030036c"


class World:
    """A started adapter and its context."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.adapter: SimulatedAdapter = create(settings)
        self.ctx = ContextDouble()
        self.calls = 0

    @property
    def clock(self) -> ManualClock:
        return self.ctx.clock

    def request(self, device: str, method: str = "GET", target: str = "/5/0/1", **more: Any) -> DeviceRequest:
        self.calls += 1
        more.setdefault("deadline", self.clock.monotonic() + 30)
        more.setdefault("call_id", f"call-{self.calls}")
        return DeviceRequest(device=device, method=method, target=target, **more)

    async def call(self, *args: Any, **more: Any) -> DeviceResponse:
        async with asyncio.timeout(5):
            return await self.adapter.call(self.request(*args, **more))

    async def begin(self, *args: Any, **more: Any) -> asyncio.Task[DeviceResponse]:
        task = asyncio.create_task(self.adapter.call(self.request(*args, **more)))
        await asyncio.sleep(0)
        return task


@pytest.fixture
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    world = World(getattr(request, "param", {"devices": [{"address": LAMP, "model": "lwm2m"}]}))
    await world.adapter.start(world.ctx)
    yield world
    await world.adapter.stop(1.0)
    assert world.ctx.tasks == 0


def devices(*entries: dict[str, Any], **more: Any) -> Any:
    return pytest.mark.parametrize("world", [{"devices": list(entries), **more}], indirect=True)


# -- the device of the first seed ---------------------------------------------------------------


async def test_the_first_seeds_device_answers_as_printed(world: World) -> None:
    response = await world.call(LAMP)
    assert (response.status, response.payload, response.content_type, response.max_age) == (
        200, b"value1\n", "text/plain", 600
    )


async def test_what_was_put_is_read_back_with_its_type(world: World) -> None:
    put = await world.call(LAMP, "PUT", payload=b"\x00\xff", content_type="application/octet-stream")
    got = await world.call(LAMP)
    assert (put.status, put.payload) == (200, b"\x00\xff")
    assert (got.payload, got.content_type, got.max_age) == (b"\x00\xff", "application/octet-stream", 600)


async def test_a_query_beside_a_payload_is_tolerated_and_without_one_changes_nothing(world: World) -> None:
    await world.call(LAMP, "PUT", "/5/0/1?k1=v1&k2=v2\"", payload=b"new")
    attributes = await world.call(LAMP, "PUT", "/5/0/1", query=(("pmin", "10"),))
    assert attributes.status == 200
    assert (await world.call(LAMP)).payload == b"new"


async def test_every_resource_of_the_seed_is_there(world: World) -> None:
    for method, target, status in (
        ("GET", "/3/0/0", 200), ("POST", "/3/0/4", 200), ("POST", "/3303/0/5605", 200), ("GET", "/3303/0/5700", 200),
        ("PUT", "/3303/0/5700", 200), ("POST", "/5/0/1", 405), ("PUT", "/3/0/0", 405), ("GET", "/3/0/4", 405),
    ):
        assert (await world.call(LAMP, method, target, payload=b"1")).status == status, (method, target)


async def test_an_unknown_resource_is_refused_before_anything_is_promised(world: World) -> None:
    request = world.request(LAMP, "GET", "/9999/0/1")
    with pytest.raises(NoSuchResource) as caught:
        world.adapter.check(request)
    assert (caught.value.status, caught.value.delivery) == (404, Delivery.NOT_SENT)
    with pytest.raises(NoSuchResource):
        await world.adapter.call(request)
    world.adapter.check(world.request(LAMP, "POST", "/5/0/1"))  # a wrong method is the device's to refuse


async def test_the_temperature_drifts_and_is_told_to_its_observer_only(world: World) -> None:
    first = await world.call(LAMP, "GET", "/3303/0/5700")
    response, observation = await world.adapter.observe(
        ObserveSpec(LAMP, "/3303/0/5700"), world.clock.monotonic() + 30
    )
    assert response.payload == first.payload

    for _ in range(10):
        world.clock.advance(5)

    told = world.ctx.of(EventKind.NOTIFICATION)
    assert len(told) == 10
    assert [event.seq for event in told] == list(range(1, 11))
    assert (await world.call(LAMP, "GET", "/3303/0/5700")).payload == told[-1].payload
    assert all(20.0 <= float(event.payload) <= 23.0 for event in told)
    await observation.cancel()
    world.clock.advance(60)
    assert len(world.ctx.of(EventKind.NOTIFICATION)) == 10


async def test_a_temperature_that_was_written_is_read_back_and_drifts_from_there(world: World) -> None:
    await world.call(LAMP, "PUT", "/3303/0/5700", payload=b"100")
    assert (await world.call(LAMP, "GET", "/3303/0/5700")).payload == b"100"
    world.clock.advance(5)
    later = float((await world.call(LAMP, "GET", "/3303/0/5700")).payload)
    assert later != 100
    assert 97 <= later <= 103


async def test_a_write_is_told_to_the_observer(world: World) -> None:
    await world.adapter.observe(ObserveSpec(LAMP, "/3303/0/5700"), world.clock.monotonic() + 30)
    await world.call(LAMP, "PUT", "/3303/0/5700", payload=b"7", content_type="text/plain")
    assert [event.payload for event in world.ctx.of(EventKind.NOTIFICATION)] == [b"7"]


# -- behaviours ---------------------------------------------------------------------------------


@devices({"address": "e", "model": "echo"})
async def test_echo_answers_anything_with_what_it_got(world: World) -> None:
    assert (await world.call("e", "GET", "/any/thing")).payload == b"/any/thing"
    assert (await world.call("e", "POST", "x", payload=b"\x01", content_type="a/b")).payload == b"\x01"
    invoked = await world.call("e", "INVOKE", "testService", args={"arg": [1]})
    assert (invoked.payload, invoked.content_type) == (b'{"arg":[1]}', "application/json")


@devices({"address": "s", "model": "slow"})
async def test_slow_answers_after_half_a_second_and_takes_one_call_at_a_time(world: World) -> None:
    task = await world.begin("s", "POST", "/x", payload=b"p")
    assert world.adapter.window("s") == 0
    world.clock.advance(0.499)
    await asyncio.sleep(0)
    assert not task.done()
    world.clock.advance(0.001)
    assert (await task).payload == b"p"
    assert world.adapter.window("s") == 1


@devices({"address": "l", "behaviour": "late", "late": 2})
async def test_late_answers_after_the_deadline(world: World) -> None:
    task = await world.begin("l", "POST", "/x", payload=b"p")
    world.clock.advance(30)
    with pytest.raises(CallError):
        await task
    assert world.ctx.of(EventKind.LATE_RESPONSE) == []
    world.clock.advance(2)
    (late,) = await world.ctx.seen(EventKind.LATE_RESPONSE)
    assert (late.attrs["call_id"], late.attrs["response"].payload) == ("call-1", b"p")


@devices({"address": "t", "behaviour": "twice", "delay": 1})
async def test_twice_answers_twice_and_is_heard_once(world: World) -> None:
    task = await world.begin("t", "POST", "/x", payload=b"p")
    world.clock.advance(1)
    assert (await task).payload == b"p"
    world.clock.advance(100)
    assert world.ctx.of(EventKind.LATE_RESPONSE) == []


@devices({"address": "d", "behaviour": "disconnect", "delay": 1, "away": 5})
async def test_disconnect_is_gone_in_the_middle_and_comes_back(world: World) -> None:
    task = await world.begin("d", "POST", "/x")
    world.clock.advance(1)
    with pytest.raises(CallError) as caught:
        await task
    assert (caught.value.code, caught.value.delivery) == ("NOT_CONNECTED", Delivery.MAYBE)
    assert world.adapter.presence("d") is Presence.OFFLINE
    await world.ctx.seen(EventKind.OFFLINE)
    world.clock.advance(5)
    await world.ctx.seen(EventKind.AWAKE)
    assert [e.kind.value for e in world.ctx.events] == ["registered", "offline", "updated", "awake"]
    assert world.adapter.window("d") == 1


@devices({"address": "z", "model": "sleepy"})
async def test_sleepy_sleeps_and_wakes_by_itself(world: World) -> None:
    world.clock.advance(5)
    await world.call("z", "GET", "/x")  # contact keeps it awake for ten more seconds
    world.clock.advance(9.9)
    assert world.adapter.presence("z") is Presence.ONLINE
    world.clock.advance(0.1)
    assert world.adapter.presence("z") is Presence.ASLEEP
    assert world.adapter.window("z") == 0
    with pytest.raises(CallError) as caught:
        await world.call("z", "GET", "/x")
    assert caught.value.delivery is Delivery.NOT_SENT
    await world.ctx.seen(EventKind.ASLEEP)
    for round in (1, 2, 3):
        world.clock.advance(30)
        assert world.adapter.presence("z") is Presence.ONLINE
        await world.ctx.seen(EventKind.AWAKE, n=round)
        world.clock.advance(10)
        assert world.adapter.presence("z") is Presence.ASLEEP
    assert (await world.ctx.seen(EventKind.REGISTERED))[0].attrs["queue_mode"] is True


@devices(
    {
        "address": "m",
        "resources": [
            {"path": "/good", "value": "v", "max_age": 7},
            {"path": "/never", "behaviour": "never"},
            {"path": "/broken", "status": 503},
        ],
    }
)
async def test_each_resource_may_behave_in_its_own_way(world: World) -> None:
    assert (await world.call("m", "GET", "/good")).max_age == 7
    assert (await world.call("m", "GET", "/broken")).status == 503
    task = await world.begin("m", "GET", "/never")
    world.clock.advance(30)
    with pytest.raises(CallError):
        await task
    with pytest.raises(NoSuchResource):
        await world.call("m", "GET", "/else")


@devices({"address": "j", "model": "job", "hold": 60})
async def test_a_job_whose_device_went_away_is_answered_late(world: World) -> None:
    task = await world.begin("j", "POST", "/x", payload=b"p")
    await world.ctx.checkpointed.wait()
    await asyncio.sleep(0)
    world.adapter.link.disconnect(world.adapter.device("j"), None)
    with pytest.raises(CallError):
        await task
    world.clock.advance(60)
    (late,) = await world.ctx.seen(EventKind.LATE_RESPONSE)
    assert late.attrs["response"].payload == b"p"


# -- the execution log, many devices, settings --------------------------------------------------


async def test_every_execution_has_its_line_before_its_answer(tmp_path: Path) -> None:
    file = tmp_path / "deeper" / "log.jsonl"
    world = World({"execution_log": str(file), "devices": [{"address": "n", "model": "never"}, {"address": "e"}]})
    await world.adapter.start(world.ctx)
    task = await world.begin("n", "POST", "/x", options={"ref": "ref-1"})
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {"async_id": "ref-1", "call_id": "call-1", "method": "POST", "device": "n"}
    ]
    await world.adapter.stop(1.0)
    with pytest.raises(CallError):
        await task

    await world.adapter.start(world.ctx)  # a restart goes on in the same file
    await world.call("e", "PUT", "/x", options={"ref": "ref \"2\"\n"})
    await world.adapter.stop(1.0)
    assert [json.loads(line)["async_id"] for line in file.read_text().splitlines()] == ["ref-1", "ref \"2\"\n"]


async def test_an_execution_that_cannot_be_logged_does_not_happen(tmp_path: Path) -> None:
    world = World({"execution_log": "/dev/full", "devices": [{"address": "e"}]})
    await world.adapter.start(world.ctx)
    with pytest.raises(CallError) as caught:
        await world.call("e")
    assert (caught.value.code, caught.value.delivery) == ("UNREACHABLE", Delivery.NOT_SENT)
    assert world.adapter.device("e").executions == 0
    assert world.adapter.health()["state"] == "degraded"
    await world.adapter.stop(1.0)


async def test_a_thousand_devices_register_behind_the_start() -> None:
    world = World({"count": 1000, "prefix": "load-"})
    world.ctx.hold_accept()
    await world.adapter.start(world.ctx)  # returns although nothing was taken yet
    assert world.ctx.events == []
    answers = await asyncio.gather(*(world.call(f"load-{n}", "POST", "/x", payload=b"%d" % n) for n in range(1000)))
    assert [answer.payload for answer in answers] == [b"%d" % n for n in range(1000)]

    world.ctx.release_accept()

    events = await world.ctx.seen(EventKind.REGISTERED, n=1000)
    assert {event.device for event in events} == {f"load-{n}" for n in range(1000)}
    await world.adapter.stop(1.0)


async def test_registrations_wait_for_a_disk_that_is_full() -> None:
    world = World({"count": 200})
    world.ctx.fail_accept = True
    await world.adapter.start(world.ctx)
    await world.ctx.failed(LINES)
    assert world.ctx.events == []

    world.ctx.fail_accept = False
    world.clock.advance(1)

    assert len(await world.ctx.seen(EventKind.REGISTERED, n=200)) == 200
    assert len(world.ctx.events) == 200
    await world.adapter.stop(1.0)


async def test_a_device_comes_back_in_the_same_life_after_a_restart_of_the_hub() -> None:
    boots = []
    for _ in range(2):
        world = World({"devices": [{"address": "e"}]})
        await world.adapter.start(world.ctx)
        boots.append((await world.ctx.seen(EventKind.REGISTERED))[0].attrs["boot"])
        await world.adapter.stop(1.0)
    assert boots[0] == boots[1]


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"device": []}, "device"),
        ({"count": -1}, "count"),
        ({"inflight": 0}, "inflight"),
        ({"devices": {}}, "devices"),
        ({"devices": [{}]}, r"devices\[0\].address"),
        ({"devices": [{"address": "a"}, {"address": "a"}]}, "twice"),
        ({"devices": [{"address": "a", "model": "nope"}]}, r"devices\[0\].model"),
        ({"devices": [{"address": "a", "behaviour": "nope"}]}, r"devices\[0\].behaviour"),
        ({"devices": [{"address": "a", "delay": "soon"}]}, r"devices\[0\].delay"),
        ({"devices": [{"address": "a", "delay": -1}]}, r"devices\[0\].delay"),
        ({"devices": [{"address": "a", "status": 200}]}, r"devices\[0\].status"),
        ({"devices": [{"address": "a", "resources": [{"path": "x"}]}]}, r"devices\[0\].resources\[0\].path"),
        ({"devices": [{"address": "a", "resources": [{"path": "/x", "methods": "GET"}]}]}, "methods"),
        ({"devices": [{"address": "a", "resources": [{"path": "/x", "drift": 0}]}]}, "drift"),
        ({"devices": [{"address": "a", "resources": [{"path": "/x", "colour": 1}]}]}, "colour"),
    ],
    ids=str,
)
def test_settings_that_are_wrong_are_named(settings: dict[str, Any], where: str) -> None:
    with pytest.raises(ValueError, match=where):
        create(settings)
