"""The vendor's device SDK, unmodified, dials in to the hub: commands, posts, attributes, gateways, a restart."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.interop.enos_mqtt_sdk.conftest import PRODUCT, SECRET, Plant

TSL = "enos.message.upstream.tsl"


@pytest.fixture(scope="module")
def pump(plant: Plant) -> Plant:
    """The plant with a device that is there."""
    plant.device("pump")
    return plant


def payload(view: dict[str, Any]) -> Any:
    """The payload of a call that has ended, which must be JSON."""
    return json.loads(base64.b64decode(view["payload-b64"]))


def test_a_service_is_invoked_and_its_output_comes_back(pump: Plant) -> None:
    view = pump.call("pump", method="INVOKE", uri="add", args={"a": 2, "b": 3})

    assert view["state"] == "done", view
    assert (view["status"], payload(view)) == (200, {"sum": 5})


def test_what_a_device_says_of_itself_is_told(pump: Plant) -> None:
    said = {
        service: pump.call("pump", method="POST", uri=f"/service/{service}")
        for service in ("unheard-of", "raises", "forgetful")
    }

    assert {service: view["status"] for service, view in said.items()} == {
        "unheard-of": 500, "raises": 500, "forgetful": 200,
    }
    assert base64.b64decode(said["unheard-of"]["payload-b64"]) == b"will not"
    assert b"no such luck" in base64.b64decode(said["raises"]["payload-b64"])
    assert payload(said["forgetful"]) == {"done": 1}


def test_a_point_is_set_and_read(pump: Plant) -> None:
    value = {"payload-b64": base64.b64encode(b"900").decode()}
    assert pump.call("pump", method="PUT", uri="/measurepoint/speed", **value)["status"] == 200
    view = pump.call("pump", method="GET", uri="/measurepoint/speed")

    assert (view["status"], payload(view)) == (200, 900)
    assert ("set", {"speed": 900}) in pump.peer("list(seen)")


def test_a_point_that_there_is_not_is_not_found(pump: Plant) -> None:
    assert pump.call("pump", method="GET", uri="/measurepoint/nothing")["status"] == 404


def test_a_service_that_never_answers_ends_as_unknown(pump: Plant) -> None:
    view = pump.call("pump", method="INVOKE", uri="mute", timeout=1)

    assert (view["status"], view["error"]) == (504, "OUTCOME_UNKNOWN")


def test_posts_are_answered_at_once_and_what_is_not_offered_is_refused_at_once(pump: Plant) -> None:
    posted = pump.peer(
        f"from {TSL}.MeasurepointPostRequest import MeasurepointPostRequest\n"
        "post = MeasurepointPostRequest.builder().add_measurepoint('temp', 21.5).add_measurepoint('rpm', 3)\n"
        "asked(pump, post.build())"
    )
    event = pump.peer(
        f"from {TSL}.EventPostRequest import EventPostRequest\n"
        "asked(pump, EventPostRequest.builder().set_event_identifier('hot').add_value('temp', 99).build())"
    )
    raw = pump.peer(
        f"from {TSL}.ModelUpRawRequest import ModelUpRawRequest\n"
        "pump.publish(ModelUpRawRequest.builder().set_payload(b'\\x00raw').build()) is not None"
    )
    refused = pump.peer(
        f"from {TSL}.TslTemplateGetRequest import TslTemplateGetRequest\n"
        "asked(pump, TslTemplateGetRequest.builder().build())"
    )

    assert (posted[0], event[0], raw, refused[0]) == (200, 200, True, 1009)


def test_attributes_and_tags_are_stored(pump: Plant) -> None:
    updated = pump.peer(
        f"from {TSL}.AttributeUpdateRequest import AttributeUpdateRequest\n"
        f"from {TSL}.AttributeQueryRequest import AttributeQueryRequest\n"
        f"from {TSL}.AttributeDeleteRequest import AttributeDeleteRequest\n"
        "asked(pump, AttributeUpdateRequest.builder().add_attribute('a', 1).add_attribute('b', [2]).build())"
    )
    everything = pump.peer("asked(pump, AttributeQueryRequest.builder().query_all().build())")
    pump.peer("asked(pump, AttributeDeleteRequest.builder().delete_attribute('a').build())")
    rest = pump.peer("asked(pump, AttributeQueryRequest.builder().query_all().build())")
    pump.peer(
        "from enos.message.upstream.tag.TagUpdateRequest import TagUpdateRequest\n"
        "from enos.message.upstream.tag.TagQueryRequest import TagQueryRequest\n"
        "asked(pump, TagUpdateRequest.builder().add_tag('where', 'cellar').build())"
    )
    tags = pump.peer("asked(pump, TagQueryRequest.builder().query_all().build())")

    assert (updated[0], everything, rest) == (200, (200, {"a": 1, "b": [2]}), (200, {"b": [2]}))
    assert tags == (200, {"where": "cellar"})


def test_a_wrong_secret_is_kept_out(plant: Plant) -> None:
    with plant.refusal():
        plant.peer(f"stranger = device({plant.url!r}, {PRODUCT!r}, 'stranger', 'another secret')")

    assert not plant.peer("stranger.is_connected()")
    plant.peer("stranger.close()")


def test_a_device_is_activated_by_its_products_secret(plant: Plant) -> None:
    secret = plant.peer(f"activated({plant.url!r}, {PRODUCT!r}, 's3cret-of-product', 'fresh')")
    assert secret, plant.peer.complaints[-2000:]

    plant.device("fresh", secret)

    assert payload(plant.call("fresh", method="INVOKE", uri="add", args={"a": 1, "b": 1})) == {"sum": 2}
    # And nobody else is told, nor anybody again once it came back with its own.
    for secret, key in (("wrong", "other"), ("s3cret-of-product", "fresh")):
        with plant.refusal():
            asked = plant.peer.begin(f"activated({plant.url!r}, {PRODUCT!r}, {secret!r}, {key!r}, 0.5)")
        assert asked.result() is None


def test_sub_devices_are_called_over_their_gateway(plant: Plant) -> None:
    plant.device("gateway")
    plant.peer(
        "from enos.message.upstream.topo.SubDeviceInfo import SubDeviceInfo\n"
        "from enos.message.upstream.topo.TopoAddRequest import TopoAddRequest\n"
        "from enos.message.upstream.topo.TopoGetRequest import TopoGetRequest\n"
        "from enos.message.upstream.topo.TopoDeleteRequest import TopoDeleteRequest\n"
        "from enos.message.upstream.status.SubDeviceLoginRequest import SubDeviceLoginRequest\n"
        "from enos.message.upstream.status.SubDeviceLogoutRequest import SubDeviceLogoutRequest\n"
        "from enos.message.upstream.status.SubDeviceLoginBatchRequest import SubDeviceLoginBatchRequest\n"
        f"sub = lambda name, secret: SubDeviceInfo({PRODUCT!r}, name, secret)\n"
        "add = lambda name, secret: TopoAddRequest.builder().add_sub_device(sub(name, secret))\n"
        f"login = lambda name: SubDeviceLoginRequest.builder().set_sub_device_info({PRODUCT!r}, name, {SECRET!r})\n"
    )
    assert plant.peer("asked(gateway, login('sub1').build())")[0] == 740  # not in the topology yet
    assert plant.peer("asked(gateway, add('sub1', 'wrong').build())")[0] == 742
    for name in ("sub1", "sub2"):
        assert plant.peer(f"asked(gateway, add({name!r}, {SECRET!r}).build())")[0] == 200
    known = plant.peer("asked(gateway, TopoGetRequest.builder().build())")
    assert [sub["deviceKey"] for sub in known[1]] == ["sub1", "sub2"]
    assert plant.peer("asked(gateway, login('sub1').build())")[0] == 200
    batch = f"SubDeviceLoginBatchRequest.builder().add_sub_device_info({PRODUCT!r}, 'sub2', {SECRET!r}).build()"
    assert plant.peer(f"asked(gateway, {batch})")[0] == 200

    for name in ("sub1", "sub2"):
        assert payload(plant.call(name, method="INVOKE", uri="add", args={"a": 1, "b": 2})) == {"sum": 3}

    logout = f"SubDeviceLogoutRequest.builder().set_sub_product_key({PRODUCT!r}).set_sub_device_key('sub1').build()"
    assert plant.peer(f"asked(gateway, {logout})")[0] == 200
    view = plant.call("sub1", method="INVOKE", uri="add", args={"a": 1, "b": 2}, expiry=1)
    assert view["status"] in (429, 503), view


def test_a_call_ends_by_the_late_answer_after_the_hub_was_killed_and_is_published_once(plant: Plant) -> None:
    plant.device("late")
    plant.peer("go.clear()")
    body = {"method": "INVOKE", "uri": "slow", "args": {"n": 77}, "timeout": 60}
    view = plant.hub.ask("POST", "v1/devices/late/calls", body)
    assert plant.peer("until(lambda: ('slow', {'n': 77}) in seen)")

    plant.hub.kill()
    plant.hub.start()
    assert plant.peer("until(late.is_connected)", 40)
    plant.peer("go.set()")
    done = plant.hub.ask("GET", f"v1/calls/{view['id']}")
    while done["state"] != "done":
        done = plant.hub.ask("GET", f"v1/calls/{view['id']}")

    assert (done["status"], payload(done)) == (200, {"late": True}), done
    assert plant.peer("seen.count(('slow', {'n': 77}))") == 1


def test_a_gateway_hears_that_its_sub_device_was_deleted(plant: Plant) -> None:
    plant.device("gateway")
    plant.peer(
        "from enos.message.downstream.device.SubDeviceDeleteCommand import SubDeviceDeleteCommand\n"
        "from enos.message.downstream.device.SubDeviceDeleteReply import SubDeviceDeleteReply\n"
        "from enos.message.upstream.topo.SubDeviceInfo import SubDeviceInfo\n"
        "from enos.message.upstream.topo.TopoAddRequest import TopoAddRequest\n"
        "def on_delete(command, args):\n"
        "    seen.append(('delete', args, command.get_params()))\n"
        "    return SubDeviceDeleteReply.builder().set_code(200).build()\n"
        "gateway.register_arrived_message_handler(SubDeviceDeleteCommand.get_class(), on_delete)\n"
    )
    sub = f"SubDeviceInfo({PRODUCT!r}, 'stranger', {SECRET!r})"
    assert plant.peer(f"asked(gateway, TopoAddRequest.builder().add_sub_device({sub}).build())")[0] == 200
    plant.hub.ask("DELETE", "v1/devices/stranger")

    assert plant.peer("until(lambda: any(one[0] == 'delete' for one in seen))")
    heard = plant.peer("[one for one in seen if one[0] == 'delete']")
    assert heard == [("delete", (PRODUCT, "gateway"), [{"productKey": PRODUCT, "deviceKey": "stranger"}])]
