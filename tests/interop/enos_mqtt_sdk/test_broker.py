"""The vendor's device SDK, unmodified, at a plain mosquitto: its command session is prepared by the hub."""

from __future__ import annotations

import base64
import json
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.mqtt.broker.mosquitto import PROGRAM, Mosquitto
from tests.hub_process import HubProcess
from tests.interop.enos_mqtt_sdk.conftest import PRODUCT, SECRET
from tests.interop.peer import SCRIPTS, Peer, environment_of
from tests.require import require

TSL = "enos.message.upstream.tsl"
KEY = "ak_hub_process_0123456789"


def config(broker: str, client_id: str) -> str:
    """A hub at the broker, a product with its services, and one device with the client id that it comes with."""
    return f"""
[accounts.acme]
[applications.shop]
account = "acme"
[keys.main]
application = "shop"
scopes = ["call", "listen", "device", "admin"]
key = "{KEY}"
[products.{PRODUCT}]
account = "acme"
[products.{PRODUCT}.services.add]
[products.{PRODUCT}.services.forgetful]
[enos.orgs.o1]
account = "acme"
application = "shop"
[adapters.plant]
kind = "mqtt-broker"
url = "{broker}"
client_id = "hub-of-the-plant"
reconnect_most = 1
speak = "enos"
[adapters.plant.sessions]
"{PRODUCT}/pump" = "{client_id}"
[devices.pump]
account = "acme"
adapter = "plant"
address = "{PRODUCT}/pump"
aliases = {{ product-device = "{PRODUCT}/pump" }}
"""


class Plant:
    """A hub, and the prompt of a device, at one broker."""

    def __init__(self, hub: HubProcess, peer: Peer, broker: Mosquitto) -> None:
        self.hub = hub
        self.peer = peer
        self.broker = broker

    def call(self, **body: Any) -> dict[str, Any]:
        """Send a call through the native API and wait for its end."""
        answer: dict[str, Any] = self.hub.ask("POST", "v1/devices/pump/calls", body, Prefer="wait=20")
        return answer


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    require(PROGRAM)
    python = environment_of("enos-mqtt-sdk") / "bin" / "python"
    folder: Path = tmp_path_factory.mktemp("broker")
    broker = Mosquitto()
    broker.start()
    prompt = [str(python), "-W", "ignore", str(SCRIPTS / "enos-mqtt-sdk" / "prompt.py")]
    with Peer(prompt, folder / "peer", python=True) as peer:
        # As `device(...)` of the prompt, but with its session kept, and connected only when that is prepared.
        client_id = peer(
            f"pump = MqttClient('tcp://127.0.0.1:{broker.port}', {PRODUCT!r}, 'pump', {SECRET!r})\n"
            "pump.get_profile().set_auto_reconnect(True)\n"
            "pump.get_profile().set_mqtt_clean_session(False)\n"
            "pump.register_arrived_message_handler(ServiceInvocationCommand.get_class(), on_service)\n"
            "pump.register_arrived_message_handler(MeasurepointSetCommand.get_class(), on_set)\n"
            "pump.register_arrived_message_handler(MeasurepointGetCommand.get_class(), on_get)\n"
            "pump.told = Told()\n"
            "pump.get_profile().get_client_id()"
        )
        with HubProcess(folder, config=config(broker.url, client_id), key=KEY) as hub:
            ready(hub)
            peer("pump.connect(pump.told)")
            assert peer("connected(pump)"), peer.complaints[-2000:]
            yield Plant(hub, peer, broker)
    broker.close()


def ready(hub: HubProcess, state: str = "up") -> None:
    """Return when the hub is at the broker, and every session prepared."""
    for _ in range(1000):
        if hub.ask("GET", "readyz")["adapters"]["plant"] == state:
            return
        select.select([], [], [], 0.02)  # nothing rings then
    raise AssertionError(f"the adapter is not {state}")


def payload(view: dict[str, Any]) -> Any:
    """The payload of a call that has ended, which must be JSON."""
    return json.loads(base64.b64decode(view["payload-b64"]))


def test_a_service_is_invoked_through_the_broker_and_answered_once(plant: Plant) -> None:
    view = plant.call(method="INVOKE", uri="add", args={"a": 2, "b": 3})

    assert (view["state"], view["status"], payload(view)) == ("done", 200, {"sum": 5}), view
    # With a wildcard subscription the device would take its own answers for commands, without end.
    seen = plant.peer("list(seen)")
    assert [entry for entry in seen if entry[0].endswith("_reply")] == []
    assert seen.count(("add", {"a": 2, "b": 3})) == 1


def test_a_cloud_command_reaches_the_device_behind_the_broker(plant: Plant) -> None:
    where = f"orgId=o1&productKey={PRODUCT}&deviceKey=pump&serviceId=add&timeout=20"
    command = f"connect-service/v2.1/commands?action=invokeService&{where}"
    answer = plant.hub.ask("POST", command, {"inputData": {"a": 20, "b": 22}})

    assert (answer["code"], answer["data"]["outputData"]) == (0, {"sum": 42}), answer


def test_points_are_set_and_read_through_the_broker(plant: Plant) -> None:
    value = {"payload-b64": base64.b64encode(b"900").decode()}
    assert plant.call(method="PUT", uri="/measurepoint/speed", **value)["status"] == 200

    assert payload(plant.call(method="GET", uri="/measurepoint/speed")) == 900


def test_posts_through_the_broker_are_answered_at_once_and_what_is_not_offered_is_refused(plant: Plant) -> None:
    posted = plant.peer(
        f"from {TSL}.MeasurepointPostRequest import MeasurepointPostRequest\n"
        "asked(pump, MeasurepointPostRequest.builder().add_measurepoint('temp', 21.5).build())"
    )
    refused = plant.peer(
        f"from {TSL}.TslTemplateGetRequest import TslTemplateGetRequest\n"
        "asked(pump, TslTemplateGetRequest.builder().build())"
    )

    assert (posted[0], refused[0]) == (200, 1009)


def test_a_command_with_two_seconds_is_told_why_it_never_went_out(plant: Plant) -> None:
    where = f"orgId=o1&productKey={PRODUCT}&deviceKey=pump&serviceId=add&timeout=2"
    command = f"connect-service/v2.1/commands?action=invokeService&{where}"
    answer = plant.hub.ask("POST", command, {"inputData": {"a": 1, "b": 1}})

    assert answer["code"] == 11904 and "less than 2 seconds were left" in answer["submsg"], answer


def test_a_broker_that_was_killed_and_forgot_all_has_the_device_called_again(plant: Plant) -> None:
    plant.broker.kill()
    ready(plant.hub, "down")
    plant.broker.start()
    ready(plant.hub)
    for _ in range(10):
        # It may be on its way back, in its own time: what is said meanwhile is kept by nobody.
        view = plant.call(method="INVOKE", uri="add", args={"a": 4, "b": 5}, timeout=2.5)
        if view["ending"] == "answered":
            break

    assert (view["status"], payload(view)) == (200, {"sum": 9}), view
