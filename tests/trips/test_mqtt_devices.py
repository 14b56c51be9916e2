"""EnOS devices and gateways with the real core above the listener: signing in, posts, stored facts, restarts."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.mqtt.listener.double import signature
from hub.core.products import product_record
from hub.model.device import Device, Presence, Registration
from hub.model.errors import StorageFailed
from hub.model.event import EventKind
from hub.model.ids import CallId
from hub.model.outcome import Ending
from tests.trips.mqtt_rig import PATIENCE, PRODUCT, Plant, logged_in, running, sub_of, wire_params

pytestmark = pytest.mark.anyio


# -- signing in -----------------------------------------------------------------------------------


async def test_a_device_signs_in_with_its_own_secret_only(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        for secret in ("", "s-gateway", "s-product"):
            assert await plant.double("pump", secret).connect() == 4
        assert await plant.double("nobody").connect() == 4
        assert await plant.double("pump", product="another").connect() == 4
        assert plant.known("pump").registration is Registration.DECLARED

        await plant.device("pump")
        assert plant.known("pump").registration is Registration.REGISTERED


@pytest.mark.parametrize("algorithm", ["md5", "sha1"])
async def test_older_algorithms_sign_too_and_prove_as_much(tmp_path: Path, algorithm: str) -> None:
    async with running(tmp_path) as plant:
        assert await plant.double("pump", "s-gateway", algorithm=algorithm).connect() == 4
        gateway = await plant.device("gateway", algorithm=algorithm)
        sub = {**sub_of("sub"), "signMethod": f"hmac{algorithm}"}
        assert (await gateway.request("thing/topo/add", [sub]))["code"] == 742  # that is of another algorithm
        sub["sign"] = signature("c", "sub", PRODUCT, "1.5", "s-sub", algorithm)
        assert (await gateway.request("thing/topo/add", [sub]))["code"] == 200
        assert (await gateway.request("combine/login", sub, session=True))["code"] == 200


async def test_a_disabled_device_and_one_of_another_adapter_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        device = plant.known("pump")
        await plant.hub.directory.put_device(
            Device("pump", "acme", "mqtt", device.address, aliases=device.aliases, disabled=True)
        )
        await plant.hub.directory.put_device(
            Device("sub", "acme", "websocket", "x", aliases=plant.known("sub").aliases)
        )

        assert await plant.double("pump").connect() == 4
        assert await plant.double("sub").connect() == 4


async def test_a_product_hands_out_one_secret_that_opens_the_door_from_then_on(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        secrets = []
        for _ in range(2):
            double = plant.double("fresh", "s-product", mode=3)
            assert await double.connect() == 0
            await double.until(lambda double=double: bool(double.messages))
            (message,) = double.messages
            assert message.topic == f"/ext/session/{PRODUCT}/fresh/thing/activate/info"
            secrets.append(wire_params(message.payload)["deviceSecret"])
            # It has to come back with its secret: nothing else is heard of it.
            assert (await double.request("thing/measurepoint/post", {"measurepoints": {"a": 1}}))["code"] == 1009
            assert plant.known("fresh").registration is Registration.DECLARED

        assert secrets[0] == secrets[1] and len(secrets[0]) == 32
        assert await plant.double("fresh", "s-product").connect() == 4
    async with running(tmp_path) as plant:
        await plant.device("fresh", secret=secrets[0])


async def handed_out(plant: Plant, id: str) -> str | None:
    """The secret that a device is told that signs in with its product's; None where it is not let in."""
    double = plant.double(id, "s-product", mode=3)
    if await double.connect() != 0:
        return None
    await double.until(lambda: bool(double.messages))
    return str(wire_params(double.messages[0].payload)["deviceSecret"])


async def test_a_device_that_has_used_its_own_secret_is_not_told_it_again(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        assert await handed_out(plant, "pump") == "s-pump"
        await plant.device("pump")
        assert await handed_out(plant, "pump") is None
        assert not plant.doubles[1].closed.is_set()  # who is there is not disturbed
    async with running(tmp_path) as plant:
        assert await handed_out(plant, "pump") is None
        assert await handed_out(plant, "other") == "s-other"


async def test_a_new_secret_may_be_told_once_more(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        await plant.device("pump")
        await plant.hub.directory.put_device(plant.known("pump"), secret=b"another")

        assert await handed_out(plant, "pump") == "another"
        await plant.device("pump", secret="another")
        assert await handed_out(plant, "pump") is None


async def test_a_product_may_declare_that_secrets_are_told_again(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        await plant.device("pump")
        product = plant.hub.products.get(PRODUCT)
        assert product is not None
        await plant.hub.directory.put(product_record(replace(product, reactivation=True)))

        assert await handed_out(plant, "pump") == "s-pump"


async def test_a_first_sign_in_that_cannot_be_stored_is_told_to_come_later(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        writing = plant.hub.engine.directory.put

        async def full(*_: object) -> None:
            raise StorageFailed("the disk is full")

        plant.hub.engine.directory.put = full  # type: ignore[assignment,method-assign]
        for double in (plant.double("pump"), plant.double("fresh", "s-product", mode=3)):
            assert await double.connect() == 3
        plant.hub.engine.directory.put = writing  # type: ignore[method-assign]
        await plant.device("pump")


@pytest.mark.parametrize(("product", "secret"), [(PRODUCT, "wrong"), ("closed", "s-product"), ("no", "s-product")])
async def test_a_product_that_activates_nobody_lets_nobody_in(tmp_path: Path, product: str, secret: str) -> None:
    async with running(tmp_path) as plant:
        assert await plant.double("fresh", secret, mode=3, product=product).connect() == 4
        assert plant.hub.directory.device("acme", "fresh") is None


# -- calls and posts ------------------------------------------------------------------------------


async def test_a_call_of_each_kind_ends_by_its_answer(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        await plant.device("pump")
        for more, payload in (
            ({"method": "INVOKE", "target": "s", "args": {"a": 1}}, b'{"a":1}'),
            ({"method": "POST", "target": "/service/s", "payload": b'{"b":2}'}, b'{"b":2}'),
            ({"method": "PUT", "target": "/measurepoint/t", "payload": b"5"}, b"{}"),
            ({"method": "GET", "target": "/measurepoint/t"}, b"5"),
        ):
            state = await plant.ended(await plant.submit("pump", **more))
            assert state.outcome is not None
            assert (state.outcome.ending, state.outcome.payload) == (Ending.ANSWERED, payload)


async def test_a_call_waits_for_a_device_that_is_not_there(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        call = await plant.submit("pump", args={"a": 1})
        double = await plant.device("pump")

        assert (await plant.ended(call)).outcome.payload == b'{"a":1}'  # type: ignore[union-attr]
        assert double.executed == [call.id]


async def test_the_points_of_a_post_reach_the_applications_that_want_them(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        double = await plant.device("pump")
        double.points = {"a": 0, "b": 0}
        for path in ("/measurepoint/a", "/measurepoint/b", "/event/hot"):
            await plant.hub.observe.want("shop", plant.known("pump"), path)
        async with asyncio.timeout(PATIENCE):
            while len(await plant.events(EventKind.NOTIFICATION)) < 2:  # the present values
                await plant.hub.engine.journal.park([CallId("nobody")])
        await double.request("thing/measurepoint/post", {"measurepoints": {"a": 1, "unwanted": 7, "b": 2}})
        await double.request("thing/event/hot/post", {"events": {"temp": 99}})

        told = [event.body for event in await plant.events(EventKind.NOTIFICATION)][2:]
        assert [(body["path"], body["payload"]) for body in told] == [
            ("/measurepoint/a", b"1"), ("/measurepoint/b", b"2"), ("/event/hot", b'{"temp":99}'),
        ]  # fmt: skip


async def test_an_answer_is_acknowledged_after_its_end_is_on_disk(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        double = await plant.device("pump")
        double.qos = 1
        call = await plant.submit("pump")
        await double.until(lambda: bool(double.acked))

        state = await plant.hub.engine.journal.get(call.id)
        assert state is not None and state.outcome is not None


# -- gateways -------------------------------------------------------------------------------------


async def test_a_sub_device_is_called_over_its_gateway_and_leaves_with_it(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await logged_in(plant, gateway, "sub", "pump")

        state = await plant.ended(await plant.submit("sub", args={"a": 1}))
        assert state.outcome is not None and state.outcome.ending is Ending.ANSWERED
        assert gateway.commands[-1][0] == f"/sys/{PRODUCT}/sub/thing/service/s"
        assert plant.known("sub").presence is Presence.ONLINE
        batch = [{"productKey": PRODUCT, "deviceKey": "sub", "measurepoints": {"a": 1}}, {"measurepoints": {"b": 1}}]
        assert (await gateway.request("thing/measurepoint/post/batch", batch))["code"] == 200

        assert (await gateway.request("combine/logout", sub_of("sub"), session=True))["code"] == 200
        assert (plant.known("sub").presence, plant.known("pump").presence) == (Presence.OFFLINE, Presence.ONLINE)
        await gateway.drop()
        await plant.until(Presence.OFFLINE, "gateway", "sub", "pump")


async def test_devices_behind_one_connection_cannot_answer_for_each_other(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await logged_in(plant, gateway, "sub")
        gateway.hold()
        call = await plant.submit("sub")
        asked = await gateway.asked()
        body = json.dumps({"id": asked.body["id"], "code": 200, "data": {"forged": True}}).encode()
        await gateway.publish(gateway.topic("thing/service/s_reply"), body)
        await gateway.publish(asked.topic.replace("service/s", "service/t") + "_reply", body)
        await gateway.settle()
        state = await plant.hub.engine.journal.get(call.id)
        assert state is not None and state.outcome is None

        await asked.answer(b"true")
        assert (await plant.ended(call)).outcome.payload == b"true"  # type: ignore[union-attr]


async def test_a_sub_device_is_in_one_topology_and_signs_for_it(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        gateway, other = await plant.device("gateway"), await plant.device("other")
        assert (await gateway.request("thing/topo/add", [sub_of("sub", "wrong")]))["code"] == 742
        await logged_in(plant, gateway, "sub")
        assert (await other.request("thing/topo/add", [sub_of("sub")]))["code"] == 740
        assert (await other.request("combine/login", sub_of("sub"), session=True))["code"] == 740
        assert (await gateway.request("combine/login", sub_of("sub", "wrong"), session=True))["code"] == 742

        assert (await gateway.request("thing/topo/delete", [sub_of("sub")]))["code"] == 200
        assert plant.known("sub").presence is Presence.OFFLINE
        await logged_in(plant, other, "sub")


async def test_a_device_that_dials_in_itself_leaves_its_gateway(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await logged_in(plant, gateway, "sub")
        sub = await plant.device("sub")
        call = await plant.submit("sub")
        await plant.ended(call)

        assert (sub.executed, gateway.executed) == ([call.id], [])
        body = {"measurepoints": {"a": 1}, "productKey": PRODUCT, "deviceKey": "sub"}
        assert (await gateway.request("thing/measurepoint/post", body))["code"] == 740


# -- restarts -------------------------------------------------------------------------------------


async def test_attributes_tags_and_topology_outlive_the_hub(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        gateway = await plant.device("gateway")
        await gateway.request("thing/attribute/update", {"attributes": {"a": 1, "b": [2]}})
        await gateway.request("thing/tag/update", [{"tagKey": "where", "tagValue": "cellar"}])
        await logged_in(plant, gateway, "sub")
    async with running(tmp_path) as plant:
        gateway, other = await plant.device("gateway"), await plant.device("other")

        assert (await gateway.request("thing/attribute/query", {"attributes": ["b"]}))["data"] == {"b": [2]}
        assert (await gateway.request("thing/tag/query", {"tags": []}))["data"] == {"where": "cellar"}
        assert (await other.request("thing/topo/add", [sub_of("sub")]))["code"] == 740
        assert (await gateway.request("combine/login", sub_of("sub"), session=True))["code"] == 200


async def test_attributes_have_a_bound(tmp_path: Path) -> None:
    async with running(tmp_path, attributes=100) as plant:
        double = await plant.device("pump")

        assert (await double.request("thing/attribute/update", {"attributes": {"a": "x" * 200}}))["code"] == 460
        assert (await double.request("thing/attribute/query", {"attributes": []}))["data"] == {}


async def test_a_late_answer_after_a_restart_ends_the_call_and_nothing_is_published_again(tmp_path: Path) -> None:
    async with running(tmp_path) as plant:
        before = await plant.device("pump")
        before.hold()
        call = await plant.submit("pump")
        asked = await before.asked()
    async with running(tmp_path) as plant:
        after = await plant.device("pump")
        after.qos = 1
        await asked.answer(b"at last", sender=after)

        state = await plant.ended(call)
        assert state.outcome is not None and state.outcome.payload == b"at last"
        await after.until(lambda: after.acked == [1])
        assert after.executed == []
        registered = [event for event in await plant.events(EventKind.REGISTERED) if event.body["device"] == "pump"]
        assert len(registered) == 1  # it is the same life of the device
