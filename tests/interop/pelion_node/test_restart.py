"""The hub is restarted while the vendor's JavaScript SDK waits; its listening socket is held outside."""

from __future__ import annotations

import time
from collections.abc import Callable

from anyio.from_thread import BlockingPortal

from tests.hub_process import HubProcess
from tests.interop.dialling import TEMPERATURE, Devices
from tests.interop.peer import PATIENCE, Peer


def until_taken(hub: HubProcess, calls: int) -> None:
    """Return once the hub has taken so many calls; each look is a round trip to it."""
    until = time.monotonic() + PATIENCE
    while len(hub.ask("GET", "v1/calls")["calls"]) < calls:
        assert time.monotonic() < until


def test_an_sdk_that_waits_during_restarts_gets_its_answers(
    serve: Callable[..., HubProcess], dial: Callable[[str, str], Peer], portal: BlockingPortal
) -> None:
    hub = serve()
    devices = Devices(portal, hub.port, hub.key)
    device = devices()
    sdk = dial(hub.url, hub.key)
    read = f"return String(await api.getResourceValue('{device.id}', '{TEMPERATURE}'))"
    sdk("await api.startNotifications({interval: 20})")
    assert sdk(read) == TEMPERATURE

    for calls, end in ((2, hub.terminate), (3, hub.kill)):
        device.drop()
        waiting = sdk.begin(read)
        until_taken(hub, calls)
        end()
        hub.start()
        device.reconnect()

        assert waiting.result() == TEMPERATURE
        assert len(device.executed) == calls
    # And it goes on as if nothing had been.
    assert sdk(read) == TEMPERATURE
    assert sdk("return loose") == []
    devices.close()
