"""`hub dev` whole: the vendor's REST client in front, the vendor's device SDK behind as the spare device it prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub_process import HubProcess
from tests.interop.peer import SCRIPTS, Peer, environment_of

FRONT, BEHIND = "enos-poseidon", "enos-mqtt-sdk"


class World:
    """A hub, its client and its device."""

    def __init__(self, hub: HubProcess, said: dict[str, Any], front: Peer, behind: Peer) -> None:
        self.hub = hub
        self.said = said
        self.front = front
        self.behind = behind
        self.spare: dict[str, str] = said["enos"]

    def connect(self) -> None:
        """The device dials in with what the hub printed."""
        spare, port = self.spare, self.said["ports"]["mqtt"]
        url = f"tcp://127.0.0.1:{port}"
        given = (url, spare["product_key"], spare["device_key"], spare["device_secret"])
        self.behind(f"client = device{given!r}")
        assert self.behind("connected(client)")

    def ask(self, service: str, given: dict[str, Any], **query: Any) -> Any:
        """One service call that waits."""
        named = f"products/{self.spare['product_key']}/devices/{self.spare['device_key']}"
        more = "".join(f"&{name}={value}" for name, value in query.items())
        path = f"/dataService/{named}/services/{service}/invoke?orgId={self.spare['org']}&requestId=r-1{more}"
        return self.front(f"ask('PUT', {path!r}, {given!r})")["data"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    front = [str(environment_of(FRONT) / "bin" / "python"), str(SCRIPTS / FRONT / "prompt.py")]
    behind = [str(environment_of(BEHIND) / "bin" / "python"), str(SCRIPTS / BEHIND / "prompt.py")]
    folder = tmp_path / "hub"
    folder.mkdir()
    hub = HubProcess(folder)
    said = hub.start()
    try:
        with (
            Peer([*front, hub.url.rstrip("/")], tmp_path / "front", python=True) as client,
            Peer(behind, tmp_path / "behind", python=True) as device,
        ):
            yield World(hub, said, client, device)
    finally:
        hub.kill()


def test_the_spare_device_serves_calls_from_the_vendors_client(world: World) -> None:
    away = world.ask("add", {"a": 1, "b": 2})
    assert (away["status"], away["submsg"]) == (1000204, "NOT_CONNECTED")

    world.connect()

    done = world.ask("add", {"a": 1, "b": 2})
    assert (done["status"], done["outputData"], done["messageId"] is not None) == (0, {"sum": 3}, True)
    refused = world.ask("unknown", {})
    assert (refused["status"], refused["submsg"].split(":")[0]) == (1000204, "2001")
    silent = world.ask("mute", {}, timeout=500)
    assert (silent["status"], silent["submsg"]) == (1000204, "OUTCOME_UNKNOWN")


def test_points_of_the_spare_device_are_set(world: World) -> None:
    world.connect()
    point = {
        "requestId": "p-1", "productKey": world.spare["product_key"], "deviceKey": world.spare["device_key"],
        "measurepointId": "temp", "inputData": {"temp": 30}, "callbackUrl": "http://127.0.0.1:9/",
    }  # fmt: skip

    path = f"/dataService/devices/multiSet?orgId={world.spare['org']}"
    (reply,) = world.front(f"ask('PUT', {path!r}, {dict(data=[point])!r})")["data"]

    assert reply["status"] == 0
    assert world.behind("until(lambda: points['temp'] == 30)")
    read = {"method": "GET", "uri": "/measurepoint/temp"}
    view = world.hub.ask("POST", f"v1/devices/{world.spare['device_key']}/calls", read, Prefer="wait=10")
    assert (view["status"], view["payload-b64"]) == (200, "MzA=")
