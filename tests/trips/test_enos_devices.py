"""EnOS services on devices of another protocol: a resource at three levels is executed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from adapters.lwm2m.double import DeviceDouble
from adapters.lwm2m.endpoint import UdpEndpoint
from hub.ports.clock import SystemClock
from tests.hub_process import HubProcess
from tests.trips.lwm2m_rig import CONFIG, free_udp_port

pytestmark = pytest.mark.anyio

KEY = "ak_lwm2m_test_0123456789"
ORG = """
[enos.orgs.o1]
account = "acme"
application = "shop"
"""


async def invoke(hub: HubProcess, device: str, service: str, **given: Any) -> Any:
    path = f"dataService/devices/{device}/services/{service}/invoke?orgId=o1&requestId=r-1"
    return (await asyncio.to_thread(hub.ask, "PUT", path, given))["data"]


async def test_a_service_of_an_lwm2m_device_is_a_resource_to_execute(tmp_path: Path) -> None:
    port = free_udp_port()
    with HubProcess(tmp_path, config=CONFIG.format(port=port) + ORG, key=KEY) as hub:
        endpoint = UdpEndpoint("127.0.0.1", 0)
        device = DeviceDouble("ep-1", endpoint, ("127.0.0.1", port), SystemClock())
        try:
            await device.register()
            executed = await invoke(hub, "ep-1", "3/0/4")
            refused = await invoke(hub, "ep-1", "3303/0")
        finally:
            device.close()

    assert (executed["status"], executed["requestMethod"]) == (0, "thing.service.3/0/4"), executed
    assert len(device.executed) == 1
    assert refused["status"] == 1000204
