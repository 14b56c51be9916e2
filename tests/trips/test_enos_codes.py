"""Every code of the vendor's list that the hub can tell, each by a request that brings it about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub.model.errors import StorageFailed
from tests.trips.enos_rig import CHANNEL, Served, call, serving

pytestmark = pytest.mark.anyio

INVOKE, SET = "/dataService/devices/multiInvoke", "/dataService/devices/multiSet"
POINTS = "/dataService/setMeasurepointChannels"
MADE = "DATASVC.SET.points"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A hub with a channel for points."""
    async with serving(tmp_path_factory.mktemp("shared")) as served:
        await served.ask("POST", POINTS, {"setMeasurepointChannelId": MADE})
        yield served


def point(device: str = "quick", **members: Any) -> dict[str, Any]:
    """The setting of a point as a client writes it."""
    return {
        "requestId": "p-1", "setMeasurepointChannelId": MADE, "assetId": f"asset-{device}", "measurepointId": "speed",
        "inputData": {"value": 5}, **members,
    }  # fmt: skip


async def reply(shared: Served, path: str, asked: Any) -> tuple[int, str, str | None]:
    """What one call is told at once."""
    answer = await shared.ask("PUT", path, {"data": [asked]})
    assert answer["status"] == 0, answer
    (told,) = answer["data"]
    return told["status"], told["msg"], told["submsg"]


@pytest.mark.parametrize(
    ("path", "asked", "told"),
    [
        (INVOKE, call(), (0, "SUCCESS", None)),
        (INVOKE, call(requestId=5), (1000, "para error", "requestId is a text")),
        (INVOKE, call(requestId=""), (1000, "para error", "requestId is missing")),
        (INVOKE, call(serviceId=None), (1000, "para error", "serviceId is missing")),
        (INVOKE, call(timeout="5000"), (1000, "para error", "timeout is 1 to 300000")),
        (INVOKE, call(timeout=1.5), (1000, "para error", "timeout is 1 to 300000")),
        (INVOKE, call(controlChannelId=None), (1000, "para error", "controlChannelId is missing")),
        (INVOKE, call(controlChannelId="pumps"), (1000, "para error", "controlChannelId is illegal")),
        (INVOKE, call(deviceKey=None), (1000, "para error", "productKey and deviceKey belong together")),
        (INVOKE, call(inputData=[1]), (1000, "para error", "inputData is an object")),
        (INVOKE, call(inputData={"a": "x" * 70_000}), (1000, "para error", "inputData has at most 65536 bytes")),
        (INVOKE, call(gmtServiceRequest="now"), (1000, "para error", "gmtServiceRequest is a number of milliseconds")),
        (INVOKE, call(gmtServiceRequest=2**63), (1000, "para error", "gmtServiceRequest is a number of milliseconds")),
        (INVOKE, call(inputData={"a": 2**64}), (1000, "para error", "inputData has an integer of more than 64 bits")),
        (INVOKE, call(timeout=2**64), (1000, "para error", "timeout is 1 to 300000")),
        (SET, point(inputData={"value": -(2**63) - 1}),
         (1000, "para error", "inputData has an integer of more than 64 bits")),
        (INVOKE, call(orgId="another"), (1000, "para error", "orgId is not that of the request")),
        (INVOKE, call(callType=1), (1000, "para error", "callType is a text")),
        (INVOKE, call(callbackUrl="http://10.0.0.1/"), (1000, "para error", "callbackUrl not allowed")),
        (INVOKE, call("nobody"), (1000201, "device does not exist", "device does not exist")),
        (INVOKE, call(controlChannelId=CHANNEL + "x"),
         (1000103, "control group does not exist", "control group does not exist")),
        (INVOKE, call(controlChannelId=MADE), (1000, "para error", "controlChannelId is illegal")),
        (INVOKE, call(assetId="array"), (1000204, "invoke service error", "INVOKE is not offered")),
        (SET, point(), (0, "SUCCESS", None)),
        (SET, point(inputData=None), (1000212, "control value is null", "control value is null")),
        (SET, point(inputData={"speed": None}), (1000212, "control value is null", "control value is null")),
        (SET, point(measurepointId=""), (1000, "para error", "measurepointId is missing")),
        (SET, point(setMeasurepointChannelId=CHANNEL), (1000, "para error", "setMeasurepointChannelId is illegal")),
        (SET, point(setMeasurepointChannelId=MADE + "x"),
         (1000303, "control group does not exist", "control group does not exist")),
        (SET, point("nobody"), (1000201, "device does not exist", "device does not exist")),
    ],
)  # fmt: skip
async def test_a_call_is_told_its_code_at_once(
    shared: Served, path: str, asked: Any, told: tuple[int, str, str | None]
) -> None:
    found = await reply(shared, path, asked)

    assert found == told


async def test_an_array_takes_no_points(shared: Served) -> None:
    assert (await reply(shared, SET, point(assetId="array")))[:2] == (1000205, "write data error")


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", POINTS, {"setMeasurepointChannelId": MADE}, 1000301),
        ("POST", POINTS, {"setMeasurepointChannelId": "DATASVC.SET."}, 1000302),
        ("GET", f"{POINTS}/{MADE}x", None, 1000303),
        ("DELETE", f"{POINTS}/{MADE}x", None, 1000303),
        ("PUT", f"{POINTS}/{MADE}", {"setMeasurepointChannelId": MADE + "x"}, 1000304),
        ("POST", "/dataService/controlChannels", {"controlChannelId": CHANNEL}, 1000101),
        ("POST", "/dataService/controlChannels", {"controlChannelId": "DATASVC.CONTROL." + "x" * 49}, 1000102),
        ("DELETE", f"/dataService/controlChannels/{CHANNEL}x", None, 1000103),
        ("POST", "/dataService/controlChannels", {"controlChannelId": f"{CHANNEL}2", "desc": 5}, 1000),
        ("GET", "/dataService/controlChannels?pageSize=x", None, 1000),
        ("PUT", "/edge-service/v1/commands?action=else", {"data": []}, 400),
        ("GET", "/dataService/nothing", None, 404),
    ],
)
async def test_a_request_is_told_its_code(shared: Served, method: str, path: str, body: Any, code: int) -> None:
    answer = await shared.ask(method, path, body)

    assert answer["status"] == code and answer["msg"] and "data" not in answer, answer


async def test_a_body_that_is_too_large_is_a_400_in_the_body(tmp_path: Path) -> None:
    async with serving(tmp_path, batch_body=10_000) as served:
        answer = await served.ask("PUT", INVOKE, {"data": [call(inputData={"a": "x" * 10_000})]})

    assert (answer["status"], answer["msg"]) == (400, "Invalid Argument")


async def test_whoever_asks_too_fast_is_told_1000207_for_the_whole_request(tmp_path: Path) -> None:
    async with serving(tmp_path, calls_per_second=1, burst=2) as served:
        taken = await served.invoke(call(requestId="a"), call(requestId="b"))
        answer = await served.ask("PUT", INVOKE, {"data": [call(requestId="c")]})

    assert [told["status"] for told in taken] == [0, 0]
    assert (answer["status"], answer["msg"]) == (1000207, "number of async control reaches the upper limit")


async def test_a_storage_that_fails_is_told_9999_and_nothing_was_taken(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:

        async def full(*_: object, **__: object) -> None:
            raise StorageFailed("the disk is full")

        journal, accepting = served.hub.engine.journal, served.hub.engine.journal.accept
        journal.accept = full  # type: ignore[assignment,method-assign]
        answer = await served.ask("PUT", INVOKE, {"data": [call()]})
        journal.accept = accepting  # type: ignore[method-assign]

        assert (answer["status"], answer["msg"]) == (9999, "internal error")
        assert [told["status"] for told in await served.invoke(call(requestId="r-2"))] == [0]
        assert [event.body["ref"] for event in await served.told(1)] == ["r-2"]
