"""The address at which devices dial in, on a hub as its user starts it."""

from __future__ import annotations

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
