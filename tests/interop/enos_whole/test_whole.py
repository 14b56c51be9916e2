"""From the vendor's REST client to the vendor's device SDK and back, also where the device or the hub goes away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.detour import Detour
from tests.interop.enos_whole.conftest import PRODUCT, Whole
from tests.interop.peer import Peer
from tests.interop.receiver import Receiver

UNKNOWN = (1000204, "OUTCOME_UNKNOWN")

either_way = pytest.mark.parametrize("whole", ["opaque", "bearer"], indirect=True)


@either_way
def test_a_service_is_called_and_told_on_the_channel_and_by_callback(whole: Whole, receiver: Receiver) -> None:
    whole.connect("pump")

    (reply,) = whole.client.invoke(whole.call("whole", "pump", "add", {"a": 2, "b": 3}, callbackUrl=receiver.url))
    (outcome,) = whole.client.outcomes(1)

    assert (reply["status"], reply["serviceName"], reply["assetId"]) == (0, "Add", "asset-pump")
    assert (outcome["status"], outcome["outputData"], outcome["msg"]) == (0, {"sum": 5}, "SUCCESS")
    assert outcome["messageId"] and outcome["gmtServiceReply"] >= outcome["gmtDeviceReply"] > 0
    assert receiver.next().json == {"data": [outcome]}


@either_way
def test_points_are_set_and_read(whole: Whole) -> None:
    whole.connect("pump")
    whole.device("points.pop('speed', None)")
    point = {
        "requestId": whole.client.id("point"), "productKey": PRODUCT, "deviceKey": "pump", "measurepointId": "speed",
        "inputData": {"speed": 900}, "callbackUrl": "http://127.0.0.1:9/",
    }  # fmt: skip

    (reply,) = whole.client("PUT", "/dataService/devices/multiSet", {"data": [point]})["data"]

    assert reply["status"] == 0, reply
    assert whole.device("until(lambda: points.get('speed') == 900)")
    read = {"method": "GET", "uri": "/measurepoint/speed"}
    view = whole.hub.ask("POST", "v1/devices/pump/calls", read, Prefer="wait=10")
    assert (view["status"], view["payload-b64"]) == (200, "OTAw")


@either_way
def test_a_mixed_batch_spoils_nobody(whole: Whole) -> None:
    whole.connect("pump")
    call = whole.call

    replies = whole.client.invoke(
        call("first", "pump", "add", {"a": 1, "b": 1}), call("unknown", "nobody", "add", {}),
        call("wordless", "pump", "", {}), call("endless", "pump", "add", {}, timeout=300_001),
        call("away", "absent", "add", {}), call("typed", "pump", "add", {"a": "one"}),
        call("raising", "pump", "raises", {}), call("last", "pump", "add", {"a": 2, "b": 2}),
    )  # fmt: skip
    outcomes = {outcome["requestId"]: outcome for outcome in whole.client.outcomes(3)}

    assert [reply["status"] for reply in replies] == [0, 1000201, 1000, 1000, 1000204, 1000, 0, 0]
    said = {name: outcomes[whole.client.id(name)] for name in ("first", "raising", "last")}
    assert {name: outcome["status"] for name, outcome in said.items()} == {"first": 0, "raising": 1000204, "last": 0}
    assert said["raising"]["submsg"].startswith("500: ") and said["last"]["outputData"] == {"sum": 4}


def test_a_device_whose_process_is_killed_in_the_middle_of_a_call_leaves_it_unknown(
    whole: Whole, prompt: list[str], tmp_path: Path, receiver: Receiver
) -> None:
    with Peer(prompt, tmp_path / "killed", python=True) as device:
        whole.connect("killed", at=device)
        device("go.clear()")
        whole.client.invoke(whole.call("left", "killed", "slow", {}, timeout=2000, callbackUrl=receiver.url))
        assert device("until(lambda: ('slow', {}) in seen)")
    # Leaving the block has killed it.
    (outcome,) = whole.client.outcomes(1)

    assert (outcome["status"], outcome["submsg"], outcome["gmtDeviceReply"]) == (*UNKNOWN, -1)
    assert receiver.next().json == {"data": [outcome]}
    assert whole.client.no_more() and receiver.none and len(whole.client.told("left")) == 1


def test_a_device_whose_network_was_cut_answers_late_and_was_asked_once(whole: Whole, detour: Detour) -> None:
    whole.connect("cut", port=detour.port)
    whole.device("go.clear()")
    whole.client.invoke(whole.call("back", "cut", "slow", {"n": 1}, timeout=60_000))
    assert whole.device("until(lambda: ('slow', {'n': 1}) in seen)")
    detour.cut()
    assert whole.device("until(lambda: not cut.is_connected())")

    detour.mend()
    assert whole.device("until(cut.is_connected)", 40)
    whole.device("go.set()")
    (outcome,) = whole.client.outcomes(1)

    assert (outcome["status"], outcome["outputData"]) == (0, {"late": True})
    assert whole.device("seen.count(('slow', {'n': 1}))") == 1
    assert whole.client.no_more() and len(whole.client.told("back")) == 1


def test_a_device_whose_network_stays_cut_leaves_its_call_unknown(whole: Whole, detour: Detour) -> None:
    whole.connect("cut", port=detour.port)
    whole.device("go.clear()")
    whole.client.invoke(whole.call("gone", "cut", "slow", {"n": 2}, timeout=2000))
    assert whole.device("until(lambda: ('slow', {'n': 2}) in seen)")
    detour.cut()
    (outcome,) = whole.client.outcomes(1)
    whole.device("go.set(); cut.close()")

    assert (outcome["status"], outcome["submsg"]) == UNKNOWN
    assert whole.client.no_more() and len(whole.client.told("gone")) == 1


def test_a_hub_killed_in_the_middle_of_a_call_tells_the_late_answer_once_everywhere(
    whole: Whole, receiver: Receiver
) -> None:
    whole.connect("late")
    whole.device("go.clear()")
    whole.client.invoke(whole.call("over", "late", "slow", {"n": 3}, timeout=60_000, callbackUrl=receiver.url))
    assert whole.device("until(lambda: ('slow', {'n': 3}) in seen)")

    whole.hub.kill()
    whole.hub.start()
    assert whole.device("until(late.is_connected)", 40)
    whole.device("go.set()")
    (outcome,) = whole.client.outcomes(1)

    assert (outcome["status"], outcome["outputData"], outcome["gmtDeviceReply"] > 0) == (0, {"late": True}, True)
    assert receiver.next().json == {"data": [outcome]}
    # The same path again, so that whatever might still come of the first call has come before.
    whole.client.invoke(whole.call("next", "late", "add", {"a": 1, "b": 1}, callbackUrl=receiver.url))
    (following,) = whole.client.outcomes(1)
    assert following["requestId"] == whole.client.id("next")
    assert receiver.next().json == {"data": [following]}
    assert len(whole.client.told("over")) == 1
    assert whole.device("seen.count(('slow', {'n': 3}))") == 1


def test_the_device_sdk_dials_in_over_tls_with_the_file_of_a_private_authority(whole: Whole) -> None:
    whole.connect("secured", port=whole.ports["mqtts"], ca=whole.authority)

    whole.client.invoke(whole.call("tls", "secured", "add", {"a": 20, "b": 22}))
    (outcome,) = whole.client.outcomes(1)

    assert (outcome["status"], outcome["outputData"]) == (0, {"sum": 42})
