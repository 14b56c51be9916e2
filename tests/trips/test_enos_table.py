"""Any front, any device (the rows and columns of EnOS): what each front's words become on a device that dials in over
MQTT, and what EnOS words become elsewhere. LwM2M devices: `test_enos_devices.py`."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.mqtt.listener.double import DeviceDouble
from hub.model.event import Event
from tests.trips.enos_rig import KEY, WORLD, Served, call, read, serving

pytestmark = pytest.mark.anyio

MQTT = """
[adapters.mqtt]
kind = "mqtt"
port = 0
max_age = 60
[devices.pump]
account = "acme"
adapter = "mqtt"
secret = "s-pump"
aliases = { product-device = "pkPump/pump", asset = "asset-pump" }
"""
BASIC = "Basic " + base64.b64encode(f"x:{KEY}".encode()).decode()


@asynccontextmanager
async def plant(folder: Path) -> AsyncIterator[tuple[Served, DeviceDouble]]:
    """A hub with a listener, and a device that is there."""
    async with serving(folder, world=WORLD + MQTT) as served:
        port = served.hub.adapters["mqtt"].health()["ports"]["mqtt"]
        double = DeviceDouble("127.0.0.1", port, "pump", product="pkPump", secret="s-pump")
        assert await double.connect() == 0
        try:
            yield served, double
        finally:
            await double.close()


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def completed(served: Served) -> Event:
    """The first completion on the default channel, once there is one."""
    events: list[Event] = []
    while not (found := [event for event in events if event.kind.value == "completion"]):
        events = await served.told(len(events) + 1, "shop/default")
    return found[0]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[tuple[Served, DeviceDouble]]:
    async with plant(tmp_path) as here:
        yield here


# The words of a front, and the topic and the parameters that come to the device.
WORDS: list[tuple[dict[str, Any], str, Any, str]] = [
    ({"method": "PUT", "uri": "/measurepoint/t", "payload-b64": b64("21.5"), "content-type": "application/json"},
     "measurepoint/set", {"t": 21.5}, "{}"),
    ({"method": "GET", "uri": "/measurepoint/t"}, "measurepoint/get", ["t"], "7"),
    ({"method": "POST", "uri": "/service/s", "payload-b64": b64('{"a":1}'), "content-type": "application/json"},
     "s", {"a": 1}, '{"a":1}'),
]  # fmt: skip


@pytest.mark.parametrize(("words", "topic", "params", "answer"), WORDS)
async def test_pelion_words_reach_an_mqtt_device(
    here: tuple[Served, DeviceDouble], words: dict[str, Any], topic: str, params: Any, answer: str
) -> None:
    served, double = here
    double.points = {"t": 7}
    headers = {"Content-Type": "application/json"}
    taken = await served.sent("POST", "/v2/device-requests/pump?async-id=a-1", words, headers=headers, org=None)
    event = await completed(served)

    assert taken.status == 202, taken
    assert [(name.partition("/thing/service/")[2], body["params"]) for name, body in double.commands] == [
        (topic, params)
    ]
    assert (event.body["ref"], event.body["status"], event.body["payload"].decode()) == ("a-1", 200, answer)


@pytest.mark.parametrize(("words", "topic", "params", "answer"), WORDS)
async def test_native_words_reach_an_mqtt_device(
    here: tuple[Served, DeviceDouble], words: dict[str, Any], topic: str, params: Any, answer: str
) -> None:
    served, double = here
    double.points = {"t": 7}
    view = await served.sent("POST", "/v1/devices/pump/calls", words, headers={"Prefer": "wait=5"}, org=None)

    assert (view.status, view.json["status"], view.json["payload-b64"]) == (200, 200, b64(answer))
    assert [(name.partition("/thing/service/")[2], body["params"]) for name, body in double.commands] == [
        (topic, params)
    ]


@pytest.mark.parametrize(
    ("method", "uri", "native", "pelion"),
    [("DELETE", "/measurepoint/t", 405, 405), ("GET", "/3/0/0", 404, 400), ("PUT", "/service/s", 405, 405)],
)
async def test_what_an_mqtt_device_has_no_words_for_is_refused_at_once(
    here: tuple[Served, DeviceDouble], method: str, uri: str, native: int, pelion: int
) -> None:
    served, double = here
    headers = {"Content-Type": "application/json"}
    for path, status in (("/v1/devices/pump/calls", native), ("/v2/device-requests/pump?async-id=a", pelion)):
        answer = await served.sent("POST", path, {"method": method, "uri": uri}, headers=headers, org=None)
        assert answer.status == status, (path, answer)
    assert double.commands == []


async def test_an_enos_call_is_a_service_of_an_mqtt_device(here: tuple[Served, DeviceDouble]) -> None:
    served, double = here
    async with served.stream() as socket:
        (reply,) = await served.invoke(call("pump", inputData={"rpm": 5}))
        (outcome,) = (await read(socket))["data"]

    ((topic, body),) = double.commands
    assert (topic, body["params"]) == ("/sys/pkPump/pump/thing/service/setSpeed", {"rpm": 5})
    assert (reply["status"], outcome["status"], outcome["outputData"]) == (0, 0, {"rpm": 5})
    assert outcome["messageId"] == body["id"]


@pytest.mark.parametrize("device", ["pump", "quick", "nobody"])
async def test_powerstore_finds_no_array_where_an_enos_device_is(
    here: tuple[Served, DeviceDouble], device: str
) -> None:
    served, double = here
    for method, path in (("GET", "volume"), ("PATCH", "volume_group/x?is_async=true"), ("GET", "job")):
        answer = await served.sent(
            method, f"/arrays/{device}/api/rest/{path}", {} if method == "PATCH" else None, key=None,
            headers={"Authorization": BASIC, "Content-Type": "application/json"}, org=None,
        )  # fmt: skip
        assert answer.status == 404, answer
    assert double.commands == []


@pytest.mark.parametrize(
    ("method", "uri"), [("PUT", "/volume_group/x"), ("GET", "/measurepoint/t"), ("POST", "/service/s")]
)
async def test_pelion_words_are_none_of_an_arrays(
    here: tuple[Served, DeviceDouble], method: str, uri: str
) -> None:
    served, _ = here
    headers = {"Content-Type": "application/json"}
    answer = await served.sent(
        "POST", "/v2/device-requests/array?async-id=a", {"method": method, "uri": uri}, headers=headers, org=None
    )

    assert answer.status == 405, answer


async def test_a_posted_value_answers_reads_for_a_while(here: tuple[Served, DeviceDouble]) -> None:
    served, double = here
    double.points = {"t": 7}
    wanted = {"method": "GET", "uri": "/measurepoint/t"}

    async def told() -> tuple[int, str]:
        view = await served.sent("POST", "/v1/devices/pump/calls", wanted, headers={"Prefer": "wait=5"}, org=None)
        return view.json["status"], base64.b64decode(view.json["payload-b64"]).decode()

    await double.request("thing/measurepoint/post", {"measurepoints": {"t": 21.5}})
    assert (await told(), double.commands) == ((200, "21.5"), [])
    served.clock.advance(61)
    assert (await told(), len(double.commands)) == ((200, "7"), 1)


async def test_posted_points_and_events_come_as_notifications_to_those_who_observe(
    here: tuple[Served, DeviceDouble],
) -> None:
    served, double = here
    for path in ("measurepoint/t", "event/hot"):
        assert (await served.sent("PUT", f"/v1/devices/pump/observations/{path}", org=None)).status == 201
    async with asyncio.timeout(5):
        while len(double.commands) < 1:  # the present value of the point
            double.news.clear()
            await double.news.wait()
    await double.request("thing/measurepoint/post", {"measurepoints": {"t": 3, "other": 4}})
    await double.request("thing/event/hot/post", {"events": {"temp": 99}})

    told = [e.body for e in await served.events("shop/default") if e.kind.value == "notification"]
    assert [(body["path"], json.loads(body["payload"])) for body in told[-2:]] == [
        ("/measurepoint/t", 3), ("/event/hot", {"temp": 99}),
    ]  # fmt: skip
