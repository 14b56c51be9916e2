"""The address at which devices dial in, on a hub as its user starts it."""

from __future__ import annotations

import asyncio
import urllib.error
from pathlib import Path

import pytest

from adapters.websocket.double import DeviceDouble
from adapters.websocket.wire import Subprotocol
from hub.ports.clock import SystemClock
from tests.hub_process import HubProcess

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/devices/v1", "/devices/v1/"])
async def test_a_device_dials_in_with_or_without_a_slash_at_the_end(path: str, tmp_path: Path) -> None:
    with HubProcess(tmp_path) as hub:
        address = f"ws://127.0.0.1:{hub.port}{path}"
        device = DeviceDouble(address, "lamp", Subprotocol("hubdev.v1.json"), SystemClock(), key=hub.key)
        welcome = await device.connect()
        await device.close()

        assert welcome.sid
        assert hub.ask("GET", "v1/devices/lamp")["id"] == "lamp"
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
    tmp_path: Path,
) -> None:
    with HubProcess(tmp_path) as hub:
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
    tmp_path: Path,
) -> None:
    with HubProcess(tmp_path) as hub:
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


async def test_a_direct_call_without_response_reaches_a_device_that_dialled_in_and_asks_for_nothing(
    tmp_path: Path,
) -> None:
    with HubProcess(tmp_path) as hub:
        device = await dialled(hub, "lamp", hub.key)
        await asyncio.to_thread(hub.ask, "PUT", "v2/endpoints/lamp/3303/0/5701?noResp=true", {"x": 1})
        await device.until(lambda: len(device.unanswered) == 1)
        calls = hub.ask("GET", "v1/calls")["calls"]

        assert (device.unanswered[0].method, device.unanswered[0].target) == ("PUT", "/3303/0/5701")
        assert "lamp" not in [call["device"] for call in calls]
        await device.close()
