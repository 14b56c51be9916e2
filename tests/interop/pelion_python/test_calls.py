"""The vendor's Python SDK reads, writes and executes; the hub is a process of its own (`hub dev`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.interop.conftest import Demo
from tests.interop.dialling import REBOOT, TEMPERATURE, Devices
from tests.interop.peer import Peer, PeerError

SEED = "015f2fa34d310000000000010030036c"


def test_a_blocking_read_returns_the_devices_answer(sdk: Peer) -> None:
    assert sdk(f"api.get_resource_value({SEED!r}, '/5/0/1', timeout=15)") == "value1\n"


def test_a_path_without_its_first_slash_reads_the_same(sdk: Peer) -> None:
    assert sdk(f"api.get_resource_value({SEED!r}, '3/0/0', timeout=15)") == "Asyncid Simulations"


def test_an_asynchronous_read_is_done_once_its_answer_came(sdk: Peer) -> None:
    sdk(f"reading = api.get_resource_value_async({SEED!r}, '/3/0/0'); reading.wait(15)")

    assert sdk("reading.is_done, reading.error, reading.value") == (True, None, b"Asyncid Simulations")


def test_a_write_is_what_the_next_read_finds(sdk: Peer, devices: Devices) -> None:
    device = devices()
    device.hold()
    writing = sdk.begin(f"api.set_resource_value({device.id!r}, {TEMPERATURE!r}, '23.25 °C', timeout=15)")
    asked = device.asked()
    device.answer(asked, b"")
    writing.result()

    assert (asked.frame.method, asked.frame.target) == ("PUT", TEMPERATURE)
    assert asked.frame.payload == "23.25 °C".encode()
    assert asked.frame.options["ct"] == "text/plain"


def test_a_written_value_is_read_back(sdk: Peer) -> None:
    sdk(f"api.set_resource_value({SEED!r}, '/5/0/1', 'value2', timeout=15)")

    assert sdk(f"api.get_resource_value({SEED!r}, '/5/0/1', timeout=15)") == "value2"
    sdk(f"api.set_resource_value({SEED!r}, '/5/0/1', 'value1\\n', timeout=15)")


def test_an_asynchronous_write_succeeds(sdk: Peer) -> None:
    sdk("writing = api.set_resource_value_async('sim-echo', '3303/0/5701', 'Cel'); writing.wait(15)")

    assert sdk("writing.error") is None


def test_nothing_written_is_an_empty_payload(sdk: Peer, devices: Devices) -> None:
    device = devices()
    device.hold()
    writing = sdk.begin(f"api.set_resource_value({device.id!r}, {TEMPERATURE!r}, None, timeout=15)")
    asked = device.asked()
    device.answer(asked, b"")
    writing.result()

    assert asked.frame.payload == b""


def test_an_execution_reaches_the_device_once(sdk: Peer, devices: Devices) -> None:
    device = devices()
    device.hold()
    executing = sdk.begin(f"api.execute_resource({device.id!r}, {REBOOT!r}, timeout=15)")
    asked = device.asked()
    device.answer(asked, b"rebooting")

    assert executing.result() == "rebooting"
    assert (asked.frame.method, asked.frame.target) == ("POST", REBOOT)
    assert len(device.executed) == 1


def test_an_asynchronous_execution_succeeds(sdk: Peer) -> None:
    sdk(f"executing = api.execute_resource_async({SEED!r}, '3/0/4'); executing.wait(15)")

    assert sdk("executing.error") is None


def test_ten_reads_in_flight_each_get_their_own_answer(sdk: Peer, devices: Devices) -> None:
    targets = [f"/3303/{number}/5700" for number in range(10)]
    device = devices()
    device.hold()
    sdk(f"readings = [api.get_resource_value_async({device.id!r}, target) for target in {targets!r}]")
    assert sdk("[reading.is_done for reading in readings]") == [False] * 10

    for target in targets:
        asked = device.asked()
        assert asked.frame.target == target, "they are sent in order, one at a time"
        device.answer(asked, f"value of {target}".encode())

    assert sdk("[reading.wait(15) for reading in readings]") == [f"value of {target}" for target in targets]


def test_ten_blocking_reads_on_ten_threads_each_get_their_own_answer(sdk: Peer) -> None:
    targets = [f"/1/{number}/0" for number in range(10)]

    readings = [sdk.begin(f"api.get_resource_value('sim-echo', {target!r}, timeout=15)") for target in targets]

    assert [reading.result() for reading in readings] == targets


def test_a_current_resource_value_is_delivered_once(sdk: Peer) -> None:
    # Not by a callback: one that is added after the subscription, as the SDK wants it, may come after the value.
    sdk(f"values = api.subscribe(api.subscribe.channels.CurrentResourceValue({SEED!r}, '/3/0/0'))")

    assert sdk("values.next().block(timeout=15)") == b"Asyncid Simulations"
    assert sdk("values.notify_count") == 1


def test_what_the_device_refuses_is_an_error_with_its_status(sdk: Peer, devices: Devices) -> None:
    device = devices()
    device.hold()
    reading = sdk.begin(f"api.get_resource_value({device.id!r}, {TEMPERATURE!r}, timeout=15)")
    device.answer(device.asked(), b"", 405)

    with pytest.raises(PeerError) as refused:
        reading.result()
    assert (refused.value.kind, refused.value.status) == ("CloudAsyncError", 405)


def test_a_device_that_leaves_ends_its_waiting_calls(sdk: Peer, devices: Devices) -> None:
    device = devices()
    device.hold()
    sdk(f"first, second = [api.get_resource_value_async({device.id!r}, {TEMPERATURE!r}) for _ in range(2)]")
    device.asked()
    device.leave()

    with pytest.raises(PeerError) as ended:
        sdk("second.wait(15)")
    assert (ended.value.kind, ended.value.status) == ("CloudAsyncError", 429)
    assert ended.value.reason == "DEVICE_REMOVED_REGISTRATION"


def test_an_unknown_device_is_nothing_to_the_sdk(sdk: Peer) -> None:
    # The SDK turns every 404 into None.
    assert sdk("api.get_resource_value_async('no-such-device', '/3/0/0')") is None
    assert sdk("api.list_resources('no-such-device')") is None


def test_an_unknown_resource_is_refused_at_once(sdk: Peer) -> None:
    with pytest.raises(PeerError, match="RESOURCE_NOT_FOUND") as refused:
        sdk(f"api.get_resource_value({SEED!r}, '/9999/0/0', timeout=15)")
    assert (refused.value.kind, refused.value.status) == ("CloudApiException", 400)


def test_a_wrong_key_is_refused(demo: Demo, dial: Callable[[str, str], Peer]) -> None:
    stranger = dial(demo.url, "ak_nobody_has_this_key")

    for statement in ("api.get_webhook()", f"api.list_resources({SEED!r})", "api.list_presubscriptions()"):
        with pytest.raises(PeerError) as refused:
            stranger(statement)
        assert refused.value.status == 401
    with pytest.raises(PeerError) as refused:
        stranger("list(api.list_connected_devices())")
    assert refused.value.status == 401
    with pytest.raises(PeerError) as refused:
        stranger(f"api.get_resource_value({SEED!r}, '/5/0/1', timeout=5)")
    assert refused.value.status == 401
