"""The hub is restarted while the vendor's Python SDK waits; the listening socket is held outside, as systemd does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from anyio.from_thread import BlockingPortal

from tests.hub_process import HubProcess
from tests.interop.dialling import TEMPERATURE, Devices
from tests.interop.peer import Peer


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_an_sdk_that_waits_during_a_restart_gets_its_answer(
    how: str, serve: Callable[..., HubProcess], dial: Callable[[str, str], Peer], portal: BlockingPortal
) -> None:
    hub = serve()
    devices = Devices(portal, hub.port, hub.key)
    device = devices()
    sdk = dial(hub.url, hub.key)
    assert sdk(f"api.get_resource_value({device.id!r}, {TEMPERATURE!r}, timeout=15)") == TEMPERATURE

    device.drop()
    sdk(f"reading = api.get_resource_value_async({device.id!r}, {TEMPERATURE!r})")
    waiting = sdk.begin("reading.wait(60)")
    getattr(hub, how)()
    hub.start()
    device.reconnect()

    assert waiting.result(timeout=60) == TEMPERATURE
    assert len(device.executed) == 2
    # And it goes on as if nothing had been.
    assert sdk(f"api.get_resource_value({device.id!r}, {TEMPERATURE!r}, timeout=15)") == TEMPERATURE
    assert sdk("polling()")
    sdk("api.stop_notifications()", timeout=10)
    assert sdk("logged") == []
    devices.close()


def test_a_registration_that_runs_out_is_told(
    serve: Callable[..., HubProcess], dial: Callable[[str, str], Peer], portal: BlockingPortal
) -> None:
    # Registrations that ran out are looked for right after a start, and then once a minute: hence the restart.
    hub = serve(lifetime=0.3)
    devices = Devices(portal, hub.port, hub.key)
    sdk = dial(hub.url, hub.key)
    device = devices(connect=False)
    sdk(f"told = Seen(); changes = api.subscribe.channels.DeviceStateChanges({device.id!r})")
    sdk("api.subscribe(changes).add_callback(told); api.get_resource_value('lamp', '/3/0/0', timeout=15)")
    device.connect()
    assert sdk("told.get()['channel']") == "registrations"
    device.drop()
    hub.terminate()
    hub.start()

    told = sdk("told.get()")
    while told["channel"] == "reg_updates":  # renewed while it was connected
        told = sdk("told.get()")

    assert told == {"channel": "registrations_expired", "device_id": device.id}
    assert sdk(f"api.list_resources({device.id!r})") is None
    sdk("api.stop_notifications()", timeout=10)
    assert sdk("logged") == []
    devices.close()
