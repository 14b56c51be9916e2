"""The address at which devices dial in, on a hub as its user starts it."""

from __future__ import annotations

import asyncio
import urllib.error
from collections.abc import Iterator

import pytest

from adapters.websocket.coding import Subprotocol
from adapters.websocket.double import DeviceDouble
from hub.ports.clock import SystemClock
from tests.hub_process import HubProcess

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub that the tests of this module share, each with devices of names of its own."""
    with HubProcess(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.mark.parametrize("path", ["/devices/v1", "/devices/v1/"])
async def test_a_device_dials_in_with_or_without_a_slash_at_the_end(path: str, hub: HubProcess) -> None:
    name = f"at-{len(path)}"
    address = f"ws://127.0.0.1:{hub.port}{path}"
    device = DeviceDouble(address, name, Subprotocol("hubdev.v1.json"), SystemClock(), key=hub.key)
    welcome = await device.connect()
    await device.close()

    assert welcome.sid
    assert hub.ask("GET", f"v1/devices/{name}")["id"] == name
    with pytest.raises(urllib.error.HTTPError) as refused:
        hub.ask("GET", path.lstrip("/"))
    refused.value.close()
    assert refused.value.code == 426


async def dialled(hub: HubProcess, identity: str, key: str) -> DeviceDouble:
    """A device that was let in."""
    address = f"ws://127.0.0.1:{hub.port}/devices/v1"
    device = DeviceDouble(address, identity, Subprotocol("hubdev.v1.json"), SystemClock(), key=key)
    await device.connect()
    return device


async def test_revoking_a_key_ends_the_connections_of_the_devices_that_it_let_in_and_of_no_others(
    hub: HubProcess,
) -> None:
    made = hub.ask("POST", "v1/keys", {"scopes": ["device"]})
    theirs = [await dialled(hub, name, made["key"]) for name in ("one", "two")]
    other = await dialled(hub, "three", hub.key)

    await asyncio.to_thread(hub.ask, "DELETE", f"v1/keys/{made['id']}")
    async with asyncio.timeout(5):
        for device in theirs:
            await device.closed.wait()
    with pytest.raises(ConnectionError):
        await theirs[0].connect()
    await other.settle()

    assert [device.close_code for device in theirs] == [1008, 1008]
    assert not other.closed.is_set()
    for device in [*theirs, other]:
        await device.close()


async def test_a_device_that_is_deleted_is_sent_away_and_nothing_that_it_tells_later_is_acknowledged(
    hub: HubProcess,
) -> None:
    device = await dialled(hub, "lamp", hub.key)
    known = await device.event()
    await device.settle()

    await asyncio.to_thread(hub.ask, "DELETE", "v1/devices/lamp")
    async with asyncio.timeout(5):
        await device.closed.wait()

    assert (device.close_code, device.acked) == (1008, [known])
    with pytest.raises(urllib.error.HTTPError) as missing:
        hub.ask("GET", "v1/devices/lamp")
    missing.value.close()
    # It may come again, with a key that may bring devices, and is a new one then.
    await device.restart()
    again = hub.ask("GET", "v1/devices/lamp")
    assert (again["presence"], again["registration"]) == ("online", "registered")
    await device.close()
