"""multiInvoke and its siblings from the request to the outcome: channel, default channel, callback, waiting answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub.delivery.control_reply import reply_of
from tests.trips.enos_rig import CHANNEL, NAMES, OTHER_KEY, READER_KEY, STALL_KEY, WORLD, Served, call, read, serving

pytestmark = pytest.mark.anyio

ADD = "/dataService/devices/asset-quick/services/add/invoke"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A hub for tests that neither count what there is nor move the clock."""
    async with serving(tmp_path_factory.mktemp("shared")) as served:
        yield served


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path) as served:
        yield served


async def outcome(served: Served, *calls: Any) -> Any:
    """The last reply on the control channel after some calls that all are taken."""
    async with served.stream() as socket:
        replies = await served.invoke(*calls)
        assert all(reply["status"] == 0 for reply in replies), replies
        return (await read(socket))["data"][0]


# What is answered at once.


async def test_each_call_has_its_own_reply_in_the_order_of_the_calls(served: Served) -> None:
    replies = await served.invoke(
        call(requestId="a"), {"requestId": "b"}, call("nobody", requestId="c"), 7, call(requestId="e")
    )

    assert [(reply["requestId"], reply["status"]) for reply in replies] == [
        ("a", 0), ("b", 1000), ("c", 1000201), (None, 1000), ("e", 0),
    ]  # fmt: skip
    assert [event.body["ref"] for event in await served.told(2)] == ["a", "e"]


async def test_the_reply_at_once_says_sent_and_shows_the_call(served: Served) -> None:
    (reply,) = await served.invoke(call(gmtServiceRequest=132132465464))

    now = int(served.clock.now().timestamp() * 1000)
    assert reply == {
        "requestId": "r-1", "messageId": None, "requestMethod": "thing.service.setSpeed", "callType": "ASYNC",
        "controlChannelId": CHANNEL, "productKey": "pkPump", "deviceKey": "quick", "assetId": "asset-quick",
        "serviceName": "Set the speed", "serviceId": "setSpeed", "callbackUrl": None, "inputData": {"rpm": 900},
        "outputData": {}, "status": 0, "msg": "SUCCESS", "submsg": None, "timeout": 5000,
        "gmtServiceRequest": 132132465464, "gmtServiceReply": now, "gmtDeviceReply": -1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"assetId": "asset-slow"}, 0),  # it wins
        ({"assetId": "nothing"}, 1000201),  # even where product and device key fit
        ({"productKey": "pkOther", "deviceKey": "foreign"}, 1000201),
        ({"assetId": "foreign-asset"}, 1000201),
        ({"controlChannelId": "DATASVC.CONTROL.none"}, 1000103),
        ({"inputData": {"rpm": "fast"}}, 1000),  # the product says that it is a number
        ({"serviceId": "unknown"}, 0),  # the device judges that
        ({"callbackUrl": "http://10.0.0.1/"}, 1000),
    ],
)
async def test_what_can_be_judged_at_once_is(shared: Served, changes: dict[str, Any], status: int) -> None:
    (reply,) = await shared.invoke(call(**changes))

    assert reply["status"] == status, reply


async def test_the_asset_says_which_device_is_meant(served: Served) -> None:
    await served.invoke(call("quick", assetId="asset-refuses"))

    (event,) = await served.told(1)
    assert event.body["device"] == "refuses"


@pytest.mark.parametrize("at", [0, -1, -(2**63) + 1, 2**63 - 1])
async def test_the_time_of_a_request_is_shown_again_whatever_it_is(shared: Served, at: int) -> None:
    (reply,) = await shared.invoke(call(gmtServiceRequest=at))

    assert (reply["status"], reply["gmtServiceRequest"]) == (0, at)


def nested(levels: int) -> Any:
    """An object of so many levels."""
    value: Any = {"a": 1}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


async def test_an_input_that_is_too_deep_or_too_long_spoils_that_call_only(served: Served) -> None:
    replies = await served.invoke(
        call(requestId="a"), call(requestId="b", inputData=nested(29)), call(requestId="c", inputData=nested(30)),
        call(requestId="d", inputData=nested(300)), call(requestId="e", inputData={"n": [2**64]}),
        call(requestId="f", inputData={"n": 2**64 - 1, "m": -(2**63)}), call(requestId="g", inputData={"n": 1.5e10}),
        call(requestId=nested(300)), {**call(requestId="i"), "more": nested(300)}, nested(300),
    )  # fmt: skip

    assert [reply["status"] for reply in replies] == [0, 0, 1000, 1000, 1000, 0, 0, 1000, 0, 1000], replies
    assert [replies[n]["submsg"] for n in (2, 3, 4)] == [
        "inputData has more than 32 levels", "inputData has more than 32 levels",
        "inputData has an integer of more than 64 bits",
    ]  # fmt: skip
    assert [replies[n]["inputData"] for n in (2, 3, 4)] == [{}, {}, {}]
    assert replies[5]["inputData"] == {"n": 2**64 - 1, "m": -(2**63)}
    assert [event.body["ref"] for event in await served.told(5)] == ["a", "b", "f", "g", "i"]


@pytest.mark.parametrize(
    "spoilt", [b'"\\ud800"', b"[" * 1100 + b"]" * 1100, b"[" + b"[]," * 50_000 + b"0]", b"1e999", b'"\xff"']
)
async def test_what_no_parser_reads_spoils_the_whole_request(shared: Served, spoilt: bytes) -> None:
    body = b'{"data":[%b,{"inputData":{"a":%b}}]}' % (json.dumps(call()).encode(), spoilt)
    answer = await shared.ask("PUT", "/dataService/devices/multiInvoke", body)

    assert answer["status"] == 400 and "data" not in answer


async def test_a_denied_callback_spoils_that_call_only(shared: Served) -> None:
    bad, good = await shared.invoke(call(callbackUrl="http://10.0.0.1/"), call(requestId="r-2"))

    assert (bad["status"], bad["submsg"], good["status"]) == (1000, "callbackUrl not allowed", 0)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"data":{}}', b'{"data":null}', b"\xff", b"7", b'{"data":[1e999]}']
)
async def test_a_body_that_cannot_be_read_is_a_400_in_the_body(shared: Served, body: bytes) -> None:
    answer = await shared.ask("PUT", "/dataService/devices/multiInvoke", body)

    assert answer["status"] == 400 and "data" not in answer, answer


async def test_too_many_calls_at_once_are_taken_not_at_all(served: Served) -> None:
    answer = await served.ask("PUT", "/dataService/devices/multiInvoke", {"data": [call()] * 1001})

    assert answer["status"] == 400
    assert not served.hub.stats.accepted


@pytest.mark.parametrize("org", [None, "", "none", "foreign"])
async def test_an_organisation_that_is_none_of_the_keys_account_is_a_400(shared: Served, org: str | None) -> None:
    answer = await shared.ask("PUT", "/dataService/devices/multiInvoke", {"data": [call()]}, org=org)

    assert (answer["status"], answer["msg"]) == (400, "Invalid Argument orgId")
    assert "data" not in answer


async def test_no_content_type_is_asked_for(shared: Served) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    (reply,) = await shared.invoke(call(), headers=headers)

    assert reply["status"] == 0


async def test_a_full_queue_is_told_per_call(tmp_path: Path) -> None:
    async with serving(tmp_path, waiting=2) as served:
        replies = await served.invoke(*(call("never", requestId=f"r-{n}", timeout=300_000) for n in range(4)))

    assert [reply["status"] for reply in replies] == [0, 0, 1000207, 1000207]


async def test_a_hub_that_goes_down_says_so_in_the_body(served: Served) -> None:
    await served.app.drain()

    answer = await served.ask("PUT", "/dataService/devices/multiInvoke", {"data": [call()]})

    assert (answer["status"], answer["msg"]) == (9999, "internal error")


async def test_a_known_device_that_is_away_is_told_at_once(served: Served) -> None:
    served.clock.advance(91)  # devices seen before had their time to come back
    await served.lost()

    (reply,) = await served.invoke(call("gone", requestId="r-2"))

    assert (reply["status"], reply["submsg"]) == (1000204, "NOT_CONNECTED")


async def test_soon_after_a_start_a_device_seen_before_may_still_come(served: Served) -> None:
    await served.lost()

    (reply,) = await served.invoke(call("gone", requestId="r-2"))

    assert reply["status"] == 0


# Setting points, reading nothing else.


async def test_points_are_set_and_told_without_output_or_device_time(served: Served) -> None:
    channel = "DATASVC.SET.points"
    await served.ask("POST", "/dataService/setMeasurepointChannels", {"setMeasurepointChannelId": channel})
    point = {
        "requestId": "r-1", "setMeasurepointChannelId": channel, "assetId": "asset-quick", "measurepointId": "speed",
        "inputData": {"speed": 900},
    }  # fmt: skip

    answer = await served.ask("PUT", "/dataService/devices/multiSet", {"data": [point]})

    (event,) = await served.told(1, f"shop/enos.{channel}")
    (reply,) = answer["data"]
    assert (reply["status"], reply["measurepointId"], reply["setMeasurepointChannelId"]) == (0, "speed", channel)
    assert not {"outputData", "gmtDeviceReply", "serviceId", "controlChannelId"} & set(reply)
    assert {"gmtSetMeasurepointRequest", "gmtSetMeasurepointReply"} <= set(reply)
    assert event.body["status"] == 200
    read = {"method": "GET", "uri": "/measurepoint/speed"}
    view = (await served.sent("POST", "/v1/devices/quick/calls", read, headers={"Prefer": "wait=5"}, org=None)).json
    assert view["payload-b64"] == "OTAw"


async def test_a_point_that_cannot_be_set_is_a_write_error(served: Served) -> None:
    point = {"requestId": "r", "callbackUrl": "http://127.0.0.1:1/", "assetId": "asset-refuses", "measurepointId": "p"}

    answer = await served.ask(
        "PUT", "/edge-service/v1/commands?action=setMeasurepointAsync", {"data": [{**point, "inputData": {"value": 1}}]}
    )

    assert answer["data"][0]["status"] == 0
    async with asyncio.timeout(5):
        while not (ended := [e for e in await served.events("shop/default") if e.kind.value == "completion"]):
            pass
    assert reply_of(ended[0].body)["status"] == 1000205


# One call that waits.


@pytest.mark.parametrize(
    "path",
    [
        "/dataService/devices/asset-quick", "/dataService/products/pkPump/devices/quick",
        "/connectService/devices/asset-quick", "/connectService/products/pkPump/devices/quick",
    ],
)  # fmt: skip
async def test_a_single_call_is_answered_when_the_device_did(shared: Served, path: str) -> None:
    answer = await shared.ask("PUT", f"{path}/services/add/invoke?requestId=r-9", {"a": 1, "b": 2})

    reply = answer["data"]
    assert (answer["status"], reply["status"], reply["callType"]) == (0, 0, "SYNC")
    assert (reply["requestId"], reply["outputData"], reply["inputData"]) == ("r-9", {"sum": 3}, {"a": 1, "b": 2})
    assert reply["messageId"]
    assert reply["gmtDeviceReply"] > 0


async def test_a_single_call_without_an_id_is_refused(shared: Served) -> None:
    answer = await shared.ask("PUT", ADD, {})

    assert (answer["data"]["status"], answer["data"]["submsg"]) == (1000, "requestId is missing")


@pytest.mark.parametrize("timeout", ["0", "300001", "x", "-1", "1.5"])
async def test_a_single_call_with_a_wrong_timeout_is_refused(shared: Served, timeout: str) -> None:
    answer = await shared.ask("PUT", f"{ADD}?requestId=r&timeout={timeout}", {})

    assert answer["data"]["status"] == 1000


async def test_more_than_the_bound_do_not_wait_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path, world=WORLD + "\n[enos]\nwaiting = 1\n") as served:
        first = asyncio.ensure_future(
            served.ask("PUT", "/dataService/devices/asset-never/services/getSpeed/invoke?requestId=r-1&timeout=3000")
        )
        await served.until("sent")

        second = await served.ask("PUT", f"{ADD}?requestId=r-2", {})
        served.clock.advance(3)

        assert second["status"] == 1000206
        assert (await first)["data"]["status"] == 1000203


async def test_requests_that_come_at_once_do_not_wait_beyond_the_bound(tmp_path: Path) -> None:
    path = "/dataService/devices/asset-never/services/getSpeed/invoke?requestId=r&timeout=3000"
    async with serving(tmp_path, world=WORLD + "\n[enos]\nwaiting = 5\n") as served:
        asked = [asyncio.ensure_future(served.ask("PUT", path, {"n": n})) for n in range(20)]
        async with asyncio.timeout(5):
            while sum(task.done() for task in asked) < 15:
                await asyncio.wait([task for task in asked if not task.done()], return_when=asyncio.FIRST_COMPLETED)
        assert {task.result()["status"] for task in asked if task.done()} == {1000206}
        await served.until("sent")
        await served.until("accepted", 4)  # in line at the device
        assert served.hub.stats.accepted == 5
        waiting = [task for task in asked if not task.done()]
        served.clock.advance(3)
        assert [(await task)["data"]["status"] for task in waiting] == [1000203] * 5
        # The seats are free again, also those of requests that were refused at the door.
        for _ in range(6):
            assert (await served.ask("PUT", f"{ADD}?requestId=&timeout=x"))["data"]["status"] == 1000
        assert (await served.ask("PUT", f"{ADD}?requestId=r", {"a": 1, "b": 1}))["data"]["status"] == 0


# Any device.


async def test_a_device_without_product_is_named_by_its_own_id(served: Served) -> None:
    reply = await outcome(served, call(assetId="lamp", serviceId="blink", inputData={"times": 3}))

    assert (reply["status"], reply["outputData"]) == (0, {"times": 3})


async def test_an_array_takes_no_service(shared: Served) -> None:
    (reply,) = await shared.invoke(call(assetId="array"))

    assert reply["status"] == 1000204


@pytest.mark.parametrize("device", NAMES[:1])
async def test_other_fronts_reach_an_enos_device_by_paths(shared: Served, device: str) -> None:
    body = {"method": "POST", "uri": "/service/add", "payload-b64": "eyJhIjoxfQ=="}

    view = (
        await shared.sent("POST", f"/v1/devices/{device}/calls", body, headers={"Prefer": "wait=5"}, org=None)
    ).json

    assert view["status"] == 200
    assert view["payload-b64"] == "eyJzdW0iOjF9"


# Who may.


async def test_a_key_that_only_listens_may_not_call(shared: Served) -> None:
    answer = await shared.ask("PUT", "/dataService/devices/multiInvoke", {"data": [call()]}, key=READER_KEY)

    assert answer["status"] == 403


async def test_a_key_of_another_account_does_not_find_the_organisation(shared: Served) -> None:
    answer = await shared.ask("PUT", "/dataService/devices/multiInvoke", {"data": [call()]}, key=OTHER_KEY)

    assert (answer["status"], answer["submsg"]) == (400, "orgId does not exist")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/dataService/devices/multiInvoke"), ("POST", "/dataService/none"), ("GET", "/dataService")],
)
async def test_paths_that_there_are_not_are_told_in_the_body(shared: Served, method: str, path: str) -> None:
    assert (await shared.ask(method, path))["status"] == 404


async def test_a_request_that_is_repeated_under_its_key_is_taken_once(served: Served) -> None:
    headers = {"Idempotency-Key": "once"}
    calls = [call(requestId="a"), call("nobody", requestId="b"), call(requestId="c")]

    first = await served.invoke(*calls, headers=headers)
    again = await served.invoke(*calls, headers=headers)

    assert [reply["status"] for reply in first] == [reply["status"] for reply in again] == [0, 1000201, 0]
    assert served.hub.stats.accepted == 2


async def test_another_application_does_not_see_the_channel(shared: Served) -> None:
    (reply,) = await shared.invoke(call(), key=STALL_KEY)

    assert reply["status"] == 1000103
