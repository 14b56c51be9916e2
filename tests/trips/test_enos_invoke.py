"""multiInvoke and its siblings from the request to the outcome: channel, default channel, callback, waiting answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub.delivery.control_reply import reply_of
from hub.dialects.enos.wire import MOST_CALLS
from tests.trips.enos_rig import CHANNEL, NAMES, OTHER_KEY, READER_KEY, STALL_KEY, WORLD, Served, call, read, serving
from tests.trips.receiver import receiving

pytestmark = pytest.mark.anyio

ADD = "/dataService/devices/asset-quick/services/add/invoke"


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
async def test_what_can_be_judged_at_once_is(served: Served, changes: dict[str, Any], status: int) -> None:
    (reply,) = await served.invoke(call(**changes))

    assert reply["status"] == status, reply


async def test_the_asset_says_which_device_is_meant(served: Served) -> None:
    await served.invoke(call("quick", assetId="asset-refuses"))

    (event,) = await served.told(1)
    assert event.body["device"] == "refuses"


async def test_a_denied_callback_spoils_that_call_only(served: Served) -> None:
    bad, good = await served.invoke(call(callbackUrl="http://10.0.0.1/"), call(requestId="r-2"))

    assert (bad["status"], bad["submsg"], good["status"]) == (1000, "callbackUrl not allowed", 0)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"data":{}}', b'{"data":null}', b"\xff", b"7", b'{"data":[1e999]}']
)
async def test_a_body_that_cannot_be_read_is_a_400_in_the_body(served: Served, body: bytes) -> None:
    answer = await served.ask("PUT", "/dataService/devices/multiInvoke", body)

    assert answer["status"] == 400 and "data" not in answer, answer


async def test_too_many_calls_at_once_are_taken_not_at_all(served: Served) -> None:
    answer = await served.ask("PUT", "/dataService/devices/multiInvoke", {"data": [call()] * (MOST_CALLS + 1)})

    assert answer["status"] == 400
    assert not served.hub.stats.accepted


@pytest.mark.parametrize("org", [None, "", "none", "foreign"])
async def test_an_organisation_that_is_none_of_the_keys_account_is_a_400(served: Served, org: str | None) -> None:
    answer = await served.ask("PUT", "/dataService/devices/multiInvoke", {"data": [call()]}, org=org)

    assert (answer["status"], answer["msg"]) == (400, "Invalid Argument orgId")
    assert "data" not in answer


async def test_no_content_type_is_asked_for(served: Served) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    (reply,) = await served.invoke(call(), headers=headers)

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


# Outcomes.


async def test_an_answer_is_an_outcome_with_output_and_three_times(served: Served) -> None:
    asked = int(served.clock.now().timestamp() * 1000)
    async with served.stream() as socket:
        await served.invoke(call("slow"))
        served.clock.advance(2)
        (reply,) = (await read(socket))["data"]

    assert (reply["status"], reply["msg"], reply["submsg"]) == (0, "SUCCESS", "SUCCESS")
    assert reply["outputData"] == {"rpm": 900}
    assert reply["messageId"]
    assert (reply["gmtServiceRequest"], reply["gmtDeviceReply"]) == (asked, asked + 2000)
    assert reply["gmtServiceReply"] >= reply["gmtDeviceReply"]


async def test_a_refusal_of_the_device_tells_its_code_and_words(served: Served) -> None:
    reply = await outcome(served, call("refuses"))

    assert (reply["status"], reply["msg"]) == (1000204, "invoke service error")
    assert reply["submsg"] == "2000: simulated refusal"
    assert reply["outputData"] == {}


async def test_a_service_that_the_device_has_not_is_its_refusal(served: Served) -> None:
    reply = await outcome(served, call(serviceId="unknown"))

    assert (reply["status"], reply["submsg"]) == (1000204, "1101: there is no service unknown")


async def test_no_answer_within_the_timeout_is_unknown_for_a_service_that_may_not_be_repeated(served: Served) -> None:
    async with served.stream() as socket:
        await served.invoke(call("never", timeout=3000))
        await served.until("sent")
        served.clock.advance(3)
        (reply,) = (await read(socket))["data"]

    assert (reply["status"], reply["submsg"], reply["gmtDeviceReply"]) == (1000204, "OUTCOME_UNKNOWN", -1)


async def test_no_answer_within_the_timeout_is_a_timeout_for_one_that_is_declared_idempotent(served: Served) -> None:
    async with served.stream() as socket:
        await served.invoke(call("never", "getSpeed", timeout=3000))
        await served.until("sent")
        served.clock.advance(3)
        (reply,) = (await read(socket))["data"]

    assert (reply["status"], reply["msg"]) == (1000203, "timeout")


async def test_the_timeout_counts_from_acceptance_also_for_a_call_that_stood_in_line(served: Served) -> None:
    async with served.stream() as socket:
        await served.invoke(
            call("queued", "getSpeed", timeout=300_000), call("queued", requestId="r-2", timeout=2000)
        )
        await served.until("sent")
        served.clock.advance(2)
        (reply,) = (await read(socket))["data"]

    assert (reply["requestId"], reply["status"], reply["submsg"]) == ("r-2", 1000203, "not sent")


async def test_a_call_that_was_sent_late_ends_in_its_own_time(served: Served) -> None:
    async with served.stream() as socket:
        await served.invoke(
            call("never", "getSpeed", timeout=2000), call("never", "getSpeed", requestId="r-2", timeout=3000)
        )
        await served.until("sent")
        served.clock.advance(2)
        assert (await read(socket))["data"][0]["requestId"] == "r-1"
        await served.until("sent")
        served.clock.advance(1)
        (reply,) = (await read(socket))["data"]

    assert (reply["requestId"], reply["status"]) == ("r-2", 1000203)


async def test_a_device_gone_in_the_middle_of_a_call_leaves_it_unknown(served: Served) -> None:
    async with served.stream() as socket:
        await served.lost()
        served.clock.advance(5)
        (reply,) = (await read(socket))["data"]

    assert (reply["status"], reply["submsg"]) == (1000204, "OUTCOME_UNKNOWN")


async def test_a_cancelled_call_is_told_so(served: Served) -> None:
    async with served.stream() as socket:
        await served.invoke(call("never", "getSpeed"))
        await served.until("sent")
        (id,) = served.hub.dispatch.tickets
        await served.sent("DELETE", f"/v1/calls/{id}", org=None)
        (reply,) = (await read(socket))["data"]

    assert (reply["status"], reply["submsg"]) == (1000204, "CANCELLED")


async def test_each_outcome_is_told_once_on_the_channel_and_once_on_the_default_channel(served: Served) -> None:
    await served.invoke(*(call(requestId=f"r-{n}") for n in range(50)))

    control = await served.told(50)
    default = [event for event in await served.events("shop/default") if event.kind.value == "completion"]
    assert [event.body["ref"] for event in control] == [f"r-{n}" for n in range(50)]
    assert [event.body["ref"] for event in default] == [f"r-{n}" for n in range(50)]


async def test_the_default_channel_tells_it_as_an_async_response_under_the_request_id(served: Served) -> None:
    await served.invoke(call())
    await served.told(1)

    messages = (await served.sent("GET", "/v1/channels/default/messages?from=first", org=None)).json["messages"]
    (item,) = [message["async-responses"][0] for message in messages if "async-responses" in message]
    assert (item["id"], item["status"], item["device"]) == ("r-1", 200, "quick")
    assert not any("data" in message for message in messages)


async def test_a_callback_gets_the_same_message_signed(served: Served) -> None:
    async with receiving() as receiver:
        await served.invoke(call(callbackUrl=receiver.url + "/done", controlChannelId=None))
        got = await receiver.next()

    (reply,) = got.json["data"]
    assert set(got.json) == {"data"}
    assert (got.method, got.path, got.headers["Content-Type"]) == ("POST", "/done", "application/json")
    assert (reply["requestId"], reply["status"], reply["outputData"]) == ("r-1", 0, {"rpm": 900})
    assert reply["callbackUrl"] == receiver.url + "/done"
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= {name.lower() for name in got.headers}
    assert not await served.events(f"shop/enos.{CHANNEL}")


async def test_a_channel_that_was_deleted_meanwhile_is_not_made_again(served: Served) -> None:
    made = "DATASVC.CONTROL.brief"
    await served.ask("POST", "/dataService/controlChannels", {"controlChannelId": made})
    await served.invoke(call("slow", controlChannelId=made))
    await served.ask("DELETE", f"/dataService/controlChannels/{made}")
    served.clock.advance(2)

    async with asyncio.timeout(5):
        while not [event for event in await served.events("shop/default") if event.kind.value == "completion"]:
            pass
    assert await served.hub.channels.find(f"shop/enos.{made}") is None


async def test_another_application_does_not_see_the_channel(served: Served) -> None:
    (reply,) = await served.invoke(call(), key=STALL_KEY)

    assert reply["status"] == 1000103


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
async def test_a_single_call_is_answered_when_the_device_did(served: Served, path: str) -> None:
    answer = await served.ask("PUT", f"{path}/services/add/invoke?requestId=r-9", {"a": 1, "b": 2})

    reply = answer["data"]
    assert (answer["status"], reply["status"], reply["callType"]) == (0, 0, "SYNC")
    assert (reply["requestId"], reply["outputData"], reply["inputData"]) == ("r-9", {"sum": 3}, {"a": 1, "b": 2})
    assert reply["messageId"]
    assert reply["gmtDeviceReply"] > 0


async def test_a_single_call_without_an_id_is_refused(served: Served) -> None:
    answer = await served.ask("PUT", ADD, {})

    assert (answer["data"]["status"], answer["data"]["submsg"]) == (1000, "requestId is missing")


@pytest.mark.parametrize("timeout", ["0", "300001", "x", "-1", "1.5"])
async def test_a_single_call_with_a_wrong_timeout_is_refused(served: Served, timeout: str) -> None:
    answer = await served.ask("PUT", f"{ADD}?requestId=r&timeout={timeout}", {})

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


# Any device.


async def test_a_device_without_product_is_named_by_its_own_id(served: Served) -> None:
    reply = await outcome(served, call(assetId="lamp", serviceId="blink", inputData={"times": 3}))

    assert (reply["status"], reply["outputData"]) == (0, {"times": 3})


async def test_an_array_takes_no_service(served: Served) -> None:
    (reply,) = await served.invoke(call(assetId="array"))

    assert reply["status"] == 1000204


@pytest.mark.parametrize("device", NAMES[:1])
async def test_other_fronts_reach_an_enos_device_by_paths(served: Served, device: str) -> None:
    body = {"method": "POST", "uri": "/service/add", "payload-b64": "eyJhIjoxfQ=="}

    view = (
        await served.sent("POST", f"/v1/devices/{device}/calls", body, headers={"Prefer": "wait=5"}, org=None)
    ).json

    assert view["status"] == 200
    assert view["payload-b64"] == "eyJzdW0iOjF9"


# Who may.


async def test_a_key_that_only_listens_may_not_call(served: Served) -> None:
    answer = await served.ask("PUT", "/dataService/devices/multiInvoke", {"data": [call()]}, key=READER_KEY)

    assert answer["status"] == 403


async def test_a_key_of_another_account_does_not_find_the_organisation(served: Served) -> None:
    answer = await served.ask("PUT", "/dataService/devices/multiInvoke", {"data": [call()]}, key=OTHER_KEY)

    assert (answer["status"], answer["submsg"]) == (400, "orgId does not exist")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/dataService/devices/multiInvoke"), ("POST", "/dataService/none"), ("GET", "/dataService")],
)
async def test_paths_that_there_are_not_are_told_in_the_body(served: Served, method: str, path: str) -> None:
    assert (await served.ask(method, path))["status"] == 404


async def test_a_request_that_is_repeated_under_its_key_is_taken_once(served: Served) -> None:
    headers = {"Idempotency-Key": "once"}
    calls = [call(requestId="a"), call("nobody", requestId="b"), call(requestId="c")]

    first = await served.invoke(*calls, headers=headers)
    again = await served.invoke(*calls, headers=headers)

    assert [reply["status"] for reply in first] == [reply["status"] for reply in again] == [0, 1000201, 0]
    assert served.hub.stats.accepted == 2
