"""LwM2M devices on a whole hub: they register by themselves, are called, and outlive a kill -9 of the hub."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.double import DeviceDouble, Refused
from adapters.lwm2m.endpoint import UdpEndpoint
from hub.ports.clock import SystemClock
from tests.crash.load import completions
from tests.hub_process import HubProcess

pytestmark = pytest.mark.anyio

CONFIG = """
[accounts.acme]
[applications.shop]
account = "acme"
[keys.test]
application = "shop"
scopes = ["call", "listen", "device"]
key = "ak_lwm2m_test_0123456789"
[adapters.lwm2m]
kind = "lwm2m"
account = "acme"
open = true
port = {port}
"""


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def events(hub: HubProcess) -> list[str]:
    """The kinds of all events on the channel, in order."""
    page = hub.ask("GET", "v1/channels/default/messages?offset=0&limit=1000&wait=1")
    members = ("registrations", "reg-updates", "de-registrations", "registrations-expired", "async-responses")
    return [member for message in page["messages"] for member in members if member in message]


async def call(hub: HubProcess, device: str, **body: Any) -> dict[str, Any]:
    answer = await asyncio.to_thread(hub.ask, "POST", f"v1/devices/{device}/calls", body, None, Prefer="wait=20")
    assert isinstance(answer, dict)
    return answer


async def test_registered_devices_are_called_before_and_after_a_kill_without_registering_again(tmp_path: Path) -> None:
    port = free_udp_port()
    config = CONFIG.format(port=port)
    with HubProcess(tmp_path, config=config, key="ak_lwm2m_test_0123456789") as hub:
        endpoints = [UdpEndpoint("127.0.0.1", 0) for _ in range(20)]
        devices = [
            DeviceDouble(f"ep-{n}", endpoint, ("127.0.0.1", port), SystemClock())
            for n, endpoint in enumerate(endpoints)
        ]
        try:
            for device in devices:
                await device.register()
            before = await call(hub, "ep-7", method="GET", uri="/3303/0/5700")
            assert before["status"] == 200, before
            await asyncio.to_thread(hub.kill)
            await asyncio.to_thread(hub.start)
            for device in devices:
                after = await call(hub, device.identity, method="GET", uri="/3303/0/5700")
                assert after["status"] == 200, after
            await devices[3].update()
            told = await asyncio.to_thread(events, hub)
            assert len(await completions(hub.url, hub.key)) == 21
        finally:
            for device in devices:
                device.close()
    assert told.count("registrations") == 20
    assert told.count("reg-updates") == 1


async def test_a_device_that_is_deleted_is_told_so_at_its_next_word_and_may_register_again(tmp_path: Path) -> None:
    port = free_udp_port()
    with HubProcess(tmp_path, config=CONFIG.format(port=port), key="ak_lwm2m_test_0123456789") as hub:
        device = DeviceDouble("ep-1", UdpEndpoint("127.0.0.1", 0), ("127.0.0.1", port), SystemClock())
        try:
            await device.register()
            await asyncio.to_thread(hub.ask, "DELETE", "v1/devices/ep-1")
            with pytest.raises(Refused) as refused:
                await device.update()
            await device.register()
            after = await call(hub, "ep-1", method="GET", uri="/3303/0/5700")
        finally:
            device.close()
    assert refused.value.reply.code == codec.NOT_FOUND
    assert after["status"] == 200, after
