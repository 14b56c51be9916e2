"""Calls of the EnOS edge: what is taken, what is refused and with which words, what is shown again."""

from __future__ import annotations

from typing import Any

import pytest

from hub.core.limits import Limits
from hub.dialects.enos.failure import Failure
from hub.dialects.enos.wire import asked_of, calls_of, is_channel_id, value_of

NOW = 1_700_000_000_004
GOOD: dict[str, Any] = {
    "requestId": "r-1", "controlChannelId": "DATASVC.CONTROL.pumps", "productKey": "pk", "deviceKey": "dk",
    "serviceId": "setSpeed",
}  # fmt: skip
MISSING = object()


def reply(**changes: Any) -> dict[str, Any]:
    members = {name: value for name, value in {**GOOD, **changes}.items() if value is not MISSING}
    return asked_of(members, "o1", NOW).reply(NOW)


def test_a_reply_has_every_member_of_the_documents_in_their_order() -> None:
    assert list(reply()) == [
        "requestId", "messageId", "requestMethod", "callType", "controlChannelId", "productKey", "deviceKey", "assetId",
        "serviceName", "serviceId", "callbackUrl", "inputData", "outputData", "status", "msg", "submsg", "timeout",
        "gmtServiceRequest", "gmtServiceReply", "gmtDeviceReply",
    ]  # fmt: skip


def test_what_is_left_out_has_the_documented_default() -> None:
    told = reply()

    assert (told["status"], told["msg"], told["submsg"]) == (0, "SUCCESS", None)
    assert (told["timeout"], told["gmtServiceRequest"], told["gmtDeviceReply"]) == (30_000, NOW, -1)
    assert (told["callType"], told["inputData"], told["outputData"]) == ("ASYNC", {}, {})


@pytest.mark.parametrize("value", [1, 300_000, 5000])
def test_a_timeout_within_its_bounds_is_taken(value: int) -> None:
    assert (reply(timeout=value)["status"], reply(timeout=value)["timeout"]) == (0, value)


@pytest.mark.parametrize("id", ["x" * 256, "a\u3000b", "a\u00a0b", "\u200d", "\u2028", "\u202e", "\ue000", " "])
def test_an_id_has_any_characters_that_are_no_control_characters(id: str) -> None:
    assert (reply(requestId=id)["status"], reply(requestId=id)["requestId"]) == (0, id)


@pytest.mark.parametrize(
    "changes",
    [
        {"requestId": MISSING}, {"requestId": ""}, {"requestId": 7}, {"requestId": "a\nb"}, {"serviceId": MISSING},
        {"requestId": "x" * 257}, {"requestId": "\x9f"}, {"requestId": "\ud800"},
        {"serviceId": ""}, {"serviceId": ["x"]}, {"controlChannelId": MISSING}, {"controlChannelId": "pumps"},
        {"controlChannelId": "DATASVC.CONTROL."}, {"controlChannelId": "DATASVC.CONTROL." + "x" * 49},
        {"timeout": 0}, {"timeout": -5}, {"timeout": 300_001}, {"timeout": 1.5}, {"timeout": "5000"},
        {"timeout": True}, {"productKey": MISSING}, {"deviceKey": None}, {"productKey": 1, "deviceKey": 2},
        {"inputData": [1]}, {"inputData": "x"}, {"gmtServiceRequest": "now"}, {"orgId": "another"}, {"callbackUrl": 5},
        {"inputData": {"x": "y" * 70_000}}, {"callType": 5},
    ],
)  # fmt: skip
def test_a_wrong_member_is_a_parameter_error_of_this_call(changes: dict[str, Any]) -> None:
    told = reply(**changes)

    assert (told["status"], told["msg"]) == (1000, "para error")
    assert told["submsg"]


@pytest.mark.parametrize("value", [7, "text", None, [], True])
def test_a_call_that_is_no_object_is_answered_too(value: Any) -> None:
    told = asked_of(value, "o1", NOW).reply(NOW)

    assert (told["status"], told["requestId"], told["inputData"]) == (1000, None, {})


def test_a_wrong_member_is_shown_as_it_came() -> None:
    assert reply(timeout=-5)["timeout"] == -5
    assert reply(requestId=7)["requestId"] == 7


def test_a_callback_alone_is_enough() -> None:
    assert reply(controlChannelId=MISSING, callbackUrl="http://127.0.0.1/x")["status"] == 0


def test_an_asset_alone_names_a_device() -> None:
    assert reply(productKey=MISSING, deviceKey=MISSING, assetId="a")["status"] == 0
    assert reply(productKey=MISSING, assetId="a")["status"] == 0


def test_a_request_time_is_the_callers_own() -> None:
    assert reply(gmtServiceRequest=0)["gmtServiceRequest"] == 0
    assert reply(gmtServiceRequest=None)["gmtServiceRequest"] == NOW
    assert reply(gmtServiceRequest=132132465464)["gmtServiceRequest"] == 132132465464


@pytest.mark.parametrize("body", [{}, {"data": {}}, {"data": None}, {"data": [GOOD] * 1001}])
def test_what_is_no_list_of_at_most_a_thousand_calls_spoils_the_request(body: Any) -> None:
    with pytest.raises(Failure) as told:
        calls_of(body, Limits().batch_calls)

    assert told.value.code == 400


@pytest.mark.parametrize(
    ("given", "value"),
    [({"p": 5}, 5), ({"value": [1]}, [1]), ({"p": 5, "quality": 9}, {"p": 5, "quality": 9}), ({"q": 1}, {"q": 1})],
)
def test_the_value_of_a_point_stands_under_its_name_or_is_the_object(given: Any, value: Any) -> None:
    assert value_of("p", given) == value


@pytest.mark.parametrize("given", [None, {}, {"value": None}])
def test_a_point_is_not_set_to_nothing(given: Any) -> None:
    with pytest.raises(Failure) as told:
        value_of("p", given)

    assert told.value.code == 1000212


def test_ids_of_channels_have_at_most_64_bytes() -> None:
    assert is_channel_id("DATASVC.CONTROL." + "x" * 48)
    assert not is_channel_id("DATASVC.CONTROL." + "x" * 49)
    assert not is_channel_id("DATASVC.CONTROL.a\n")
    assert not is_channel_id("DATASVC.CONTROL.é")
    assert not is_channel_id("DATASVC.SET.a")
