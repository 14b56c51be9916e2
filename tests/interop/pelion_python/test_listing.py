"""The vendor's Python SDK lists devices and their resources."""

from __future__ import annotations

from tests.interop.dialling import HUMIDITY, REBOOT, TEMPERATURE, Devices
from tests.interop.peer import Peer

SEED = "015f2fa34d310000000000010030036c"
DEMO = {SEED, "sim-echo", "sim-slow", "sim-never", "sim-sleepy", "sim-job"}
IDS = "[device.id for device in api.list_connected_devices({})]"


def test_pages_put_together_are_the_whole_list(sdk: Peer, devices: Devices) -> None:
    mine = {devices().id for _ in range(5)}

    whole = sdk(IDS.format(""))
    paged = sdk(IDS.format("page_size=2"))

    assert mine | DEMO <= set(whole)
    assert paged == whole
    assert len(set(whole)) == len(whole)


def test_the_length_of_the_list_is_the_number_of_devices(sdk: Peer, devices: Devices) -> None:
    devices()

    assert sdk("len(api.list_connected_devices())") == len(sdk(IDS.format("")))


def test_at_most_as_many_as_asked_for_are_listed(sdk: Peer) -> None:
    assert len(sdk(IDS.format("limit=3"))) == 3


def test_the_other_order_is_the_list_backwards(sdk: Peer, devices: Devices) -> None:
    first, second = devices().id, devices().id

    there = sdk(IDS.format("order='asc'"))
    back = sdk(IDS.format("order='desc', page_size=3"))

    assert there.index(first) < there.index(second)
    assert back == there[::-1]


def test_a_device_that_signed_off_is_not_listed(sdk: Peer, devices: Devices) -> None:
    device = devices()
    assert device.id in sdk(IDS.format(""))
    device.leave()

    assert device.id not in sdk(IDS.format(""))
    assert sdk(f"api.list_resources({device.id!r})") is None


def test_a_device_tells_what_it_is(sdk: Peer) -> None:
    sdk(f"found, = [device for device in api.list_connected_devices() if device.id == {SEED!r}]")

    assert sdk("found.state, found.device_type, found.alias") == ("registered", "lwm2m", SEED)
    assert sdk("found.created_at is not None and found.created_at <= found.updated_at")


def test_devices_are_filtered_by_id(sdk: Peer) -> None:
    assert sdk(IDS.format(f"filters={{'id': {{'$eq': {SEED!r}}}}}")) == [SEED]


def test_resources_are_listed_with_type_and_observability(sdk: Peer, devices: Devices) -> None:
    device = devices()

    listed = sdk(
        "[(found.path, found.type, found.content_type, found.observable)"
        f" for found in api.list_resources({device.id!r})]"
    )

    assert sorted(listed) == sorted(
        [
            (TEMPERATURE, "temperature", "text/plain", True),
            (HUMIDITY, "humidity", "text/plain", True),
            (REBOOT, None, None, False),
        ]
    )


def test_one_resource_is_found_by_its_path(sdk: Peer) -> None:
    assert sdk(f"api.get_resource({SEED!r}, '/3303/0/5700').observable") is True


def test_devices_are_filtered_by_when_they_were_made(sdk: Peer, devices: Devices) -> None:
    device = devices()
    sdk(
        "from datetime import timedelta;"
        f"made, = [found.created_at for found in api.list_connected_devices() if found.id == {device.id!r}];"
        # The SDK writes a Z behind whatever a time says of its zone.
        "made = made.replace(tzinfo=None)"
    )

    since = sdk(IDS.format("filters={'created_at': {'$gte': made}}"))
    before = sdk(IDS.format("filters={'created_at': {'$lte': made - timedelta(milliseconds=1)}}"))

    assert (device.id in since, SEED in since) == (True, False)
    assert (device.id in before, SEED in before) == (False, True)
    assert sdk(IDS.format("filters={'created_at': {'$gte': made, '$lte': made}}")) == [device.id]


def test_devices_are_filtered_by_a_state_that_they_are_not_in(sdk: Peer, devices: Devices) -> None:
    gone = devices()
    gone.leave()

    others = sdk(IDS.format("filters={'state': {'$neq': 'registered'}}"))
    there = sdk(IDS.format("filters={'state': {'$neq': 'deregistered'}}"))

    assert (gone.id in others, SEED in others) == (True, False)
    assert (gone.id in there, SEED in there) == (False, True)
