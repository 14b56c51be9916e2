"""The vendor's Python REST client, unmodified, in front of a hub as its user starts it; simulated devices behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.hub_process import HubProcess
from tests.interop.enos_front import CONTROLS, INVOKE, Client, command
from tests.interop.peer import Peer
from tests.interop.receiver import Receiver

KEY = "ak_enos_poseidon_0123456789"
ORG, STRICT = "o1", "o2"
CONFIG = f"""
[accounts.acme]
[applications.shop]
account = "acme"
[keys.shop]
application = "shop"
scopes = ["admin"]
key = "{KEY}"
[callbacks]
allow = ["127.0.0.0/8"]
[enos.orgs.{ORG}]
account = "acme"
application = "shop"
opaque_from = ["127.0.0.0/8"]
[enos.orgs.{STRICT}]
account = "acme"
application = "shop"
[products.pkPump]
account = "acme"
[products.pkPump.services.add]
[products.pkPump.services.setSpeed]
name = "Set the speed"
[adapters.simulated]
kind = "simulated"
account = "acme"
[[adapters.simulated.devices]]
address = "pump7"
model = "enos"
[[adapters.simulated.devices]]
address = "pump8"
model = "enos"
behaviour = "never"
[[adapters.simulated.devices]]
address = "pump9"
model = "enos"
behaviour = "disconnect"
[[adapters.simulated.devices]]
address = "pump10"
model = "enos"
behaviour = "disconnect"
[devices.pump7]
account = "acme"
adapter = "simulated"
address = "pump7"
aliases = {{ product-device = "pkPump/pump7", asset = "asset-7" }}
[devices.pump8]
account = "acme"
adapter = "simulated"
address = "pump8"
aliases = {{ product-device = "pkPump/pump8" }}
[devices.pump9]
account = "acme"
adapter = "simulated"
address = "pump9"
aliases = {{ product-device = "pkPump/pump9" }}
[devices.pump10]
account = "acme"
adapter = "simulated"
address = "pump10"
aliases = {{ product-device = "pkPump/pump10" }}
"""


def call(client: Client, name: str, device: str = "pump7", **members: Any) -> dict[str, Any]:
    return client.call(name, device, "setSpeed", **members)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("hub"), config=CONFIG, key=KEY) as hub:
        yield hub


@pytest.fixture(scope="module")
def dial(hub: HubProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Client]]:
    with Peer(command(hub), tmp_path_factory.mktemp("client"), python=True) as peer:
        yield lambda org=ORG, headers=None: Client(hub, peer, org, headers)


@pytest.fixture(params=["opaque", "bearer"])
def client(request: pytest.FixtureRequest, dial: Callable[..., Client]) -> Client:
    """By its own token alone, and by a key beside it where no opaque token is let in; its channel is made."""
    strict = request.param == "bearer"
    client = dial(STRICT, {"Authorization": f"Bearer {KEY}"}) if strict else dial(ORG)
    client.make_channel()
    return client


def test_a_service_call_goes_all_the_way(client: Client) -> None:
    (reply,) = client.invoke(call(client, "whole"))

    assert (reply["status"], reply["msg"], reply["serviceName"]) == (0, "SUCCESS", "Set the speed")
    (outcome,) = client.outcomes(1)
    assert (outcome["requestId"], outcome["status"], outcome["outputData"]) == (client.id("whole"), 0, {"rpm": 900})


def test_its_own_token_is_worth_nothing_where_none_is_let_in(hub: HubProcess, dial: Callable[..., Client]) -> None:
    strict = dial(STRICT)
    answer = strict("PUT", INVOKE, {"data": [call(strict, "refused", controlChannelId=None, callbackUrl="http://x/")]})

    # Told with 200: of anything else the client would return None.
    assert answer["status"] == 401
    assert not hub.ask("GET", f"v1/calls?ref={strict.id('refused')}")["calls"]


def test_a_wrong_key_beside_the_token_is_not_overlooked(dial: Callable[..., Client]) -> None:
    wrong = dial(ORG, {"Authorization": "Bearer ak_of_nobody_here"})

    assert wrong("PUT", INVOKE, {"data": []})["status"] == 401


def test_a_token_through_a_proxy_is_worth_nothing(dial: Callable[..., Client]) -> None:
    for header in ("Forwarded", "X-Forwarded-For"):
        assert dial(ORG, {header: "for=127.0.0.1"})("PUT", INVOKE, {"data": []})["status"] == 401


def test_channels_are_made_listed_changed_and_removed(client: Client) -> None:
    path = f"{CONTROLS}/{client.channel}"
    shown = client("GET", path)["data"]
    assert (shown["controlChannelId"], shown["desc"]) == (client.channel, "pumps")
    assert client("POST", CONTROLS, {"controlChannelId": client.channel})["status"] == 1000101
    assert client("PUT", path, {"desc": "ä"})["data"]["desc"] == "ä"
    listed = client("GET", f"{CONTROLS}?pageSize=1000&pageToken=1")["data"]
    assert client.channel in [channel["controlChannelId"] for channel in listed["data"]]
    assert listed["totalSize"] == len(listed["data"])
    gone = client("DELETE", path)
    assert (gone["status"], gone["data"]) == (0, None)
    assert client("DELETE", path)["status"] == 1000103


def test_a_mixed_batch_is_answered_call_by_call(client: Client) -> None:
    replies = client.invoke(
        call(client, "good"), {"requestId": "bare"}, call(client, "lost", "nobody"), call(client, "hasty", timeout=0),
        call(client, "endless", timeout=300_001), call(client, "nowhere", controlChannelId="DATASVC.CONTROL.none"),
        call(client, "last"),
    )  # fmt: skip

    assert [reply["status"] for reply in replies] == [0, 1000, 1000201, 1000, 1000, 1000103, 0]
    assert [reply["requestId"] for reply in replies] == [
        client.id("good"), "bare", *(client.id(name) for name in ("lost", "hasty", "endless", "nowhere", "last")),
    ]  # fmt: skip
    assert [outcome["requestId"] for outcome in client.outcomes(2)] == [client.id("good"), client.id("last")]


def test_errors_of_the_whole_request_come_back_as_bodies(client: Client) -> None:
    assert client("PUT", INVOKE, {"data": {}})["status"] == 400
    assert client("PUT", INVOKE, "{")["status"] == 400
    assert client("PUT", INVOKE, {"data": []}, org="none") == {
        "status": 400, "msg": "Invalid Argument orgId", "submsg": "orgId does not exist",
    }  # fmt: skip
    assert client("GET", "/dataService/nothing")["status"] == 404


def test_a_point_is_set_and_a_single_call_waits(client: Client) -> None:
    point = {
        "requestId": "p-1", "assetId": "asset-7", "measurepointId": "speed", "inputData": {"speed": 5},
        "callbackUrl": "http://127.0.0.1:9/",
    }  # fmt: skip

    assert client("PUT", "/dataService/devices/multiSet", {"data": [point]})["data"][0]["status"] == 0
    single = client("PUT", "/dataService/devices/asset-7/services/add/invoke?requestId=s-1", {"a": 1, "b": 2})["data"]
    assert (single["status"], single["outputData"], single["callType"]) == (0, {"sum": 3}, "SYNC")


def test_the_callback_is_called(client: Client) -> None:
    with Receiver() as receiver:
        client.invoke(call(client, "back", controlChannelId=None, callbackUrl=receiver.url))
        got = receiver.next()

    (reply,) = got.json["data"]
    assert got.method == "POST"
    assert (reply["requestId"], reply["status"], reply["callbackUrl"]) == (client.id("back"), 0, receiver.url)


def test_a_device_that_does_not_answer_or_goes_away_ends_the_call(client: Client) -> None:
    leaving = "pump10" if client.headers else "pump9"  # each goes away once
    client.invoke(call(client, "silent", "pump8", timeout=1000), call(client, "left", leaving, timeout=1000))

    outcomes = {outcome["requestId"]: outcome for outcome in client.outcomes(2)}
    assert {name: (o["status"], o["submsg"]) for name, o in outcomes.items()} == {
        client.id("silent"): (1000204, "OUTCOME_UNKNOWN"), client.id("left"): (1000204, "OUTCOME_UNKNOWN"),
    }  # fmt: skip


def test_a_restart_in_the_middle_of_a_call_ends_it_once(hub: HubProcess, dial: Callable[..., Client]) -> None:
    client = dial()
    client.make_channel()
    client.invoke(call(client, "before", "pump8", timeout=2500))
    while not hub.ask("GET", "v1/calls?state=sent")["calls"]:
        pass
    hub.kill()
    hub.start()
    client.invoke(call(client, "after"))

    assert {outcome["requestId"] for outcome in client.outcomes(2)} == {client.id("before"), client.id("after")}
    assert client.no_more()
    assert [len(client.told(name)) for name in ("before", "after")] == [1, 1]
