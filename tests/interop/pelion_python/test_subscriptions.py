"""The vendor's Python SDK subscribes to values, in each of its ways."""

from __future__ import annotations

import pytest

from tests.interop.dialling import HUMIDITY, TEMPERATURE, Devices
from tests.interop.peer import Peer, PeerError

SEED = "015f2fa34d310000000000010030036c"


@pytest.fixture
def polling(sdk: Peer) -> Peer:
    """An SDK whose notification channel exists: a registration told before that is told to nobody."""
    sdk(f"api.get_resource_value({SEED!r}, '/3/0/0', timeout=15)")
    return sdk


def test_values_come_to_the_queue_in_order(polling: Peer, devices: Devices) -> None:
    device = devices()
    polling(f"values = api.add_resource_subscription({device.id!r}, {TEMPERATURE!r}, queue_size=100)")
    device.observed(TEMPERATURE)
    device.notify([b"%d" % number for number in range(1, 60)])

    got = polling("[values.get(timeout=15) for _ in range(60)]")

    assert got == [b"%d" % number for number in range(60)]


def test_values_come_to_the_callback(polling: Peer, devices: Devices) -> None:
    device = devices()
    polling(f"values = Seen(); api.add_resource_subscription_async({device.id!r}, {TEMPERATURE!r}, values)")
    device.observed(TEMPERATURE)
    device.notify([b"21.5"])

    got = polling("values.take(2)")

    assert got == [(device.id, TEMPERATURE, b"0"), (device.id, TEMPERATURE, b"21.5")]


def test_two_resources_come_to_their_own_queues(polling: Peer, devices: Devices) -> None:
    device = devices()
    for name, path in (("warm", TEMPERATURE), ("wet", HUMIDITY)):
        polling(f"{name} = api.add_resource_subscription({device.id!r}, {path!r}, queue_size=100)")
    device.observed(TEMPERATURE, HUMIDITY)
    device.notify([b"1", b"2"])

    assert polling("[warm.get(timeout=15) for _ in range(3)]") == [b"0", b"1", b"2"]
    assert polling("[wet.get(timeout=15) for _ in range(3)]") == [b"0", b"1", b"2"]


def test_nothing_comes_that_was_not_subscribed(polling: Peer, devices: Devices) -> None:
    # The SDK stops reading a message at the first item that it has no queue for: a foreign one would hide its own.
    device, other = devices(), devices()
    polling("everything = Seen(); route = api.subscribe.notify; api.subscribe.notify = "
            "lambda data: (everything(data['notifications'] or []), route(data))[1]")
    polling(f"values = api.add_resource_subscription({device.id!r}, {TEMPERATURE!r}, queue_size=100)")
    device.observed(TEMPERATURE)
    other.restart()
    device.notify([b"1"])

    assert polling("[values.get(timeout=15) for _ in range(2)]") == [b"0", b"1"]
    polling(f"api.get_resource_value({SEED!r}, '/3/0/0', timeout=15)")
    told = polling("[item for _ in range(everything.waiting) for item in everything.get()]")
    assert {(item["ep"], item["path"]) for item in told} == {(device.id, TEMPERATURE)}


def test_a_subscription_can_be_asked_for_and_ended(polling: Peer, devices: Devices) -> None:
    device = devices()
    asked = f"api.get_resource_subscription({device.id!r}, {TEMPERATURE!r})"
    assert polling(asked) is False

    polling(f"api.add_resource_subscription({device.id!r}, {TEMPERATURE!r})")
    assert polling(asked) is True
    device.observed(TEMPERATURE)

    polling(f"api.delete_resource_subscription({device.id!r}, {TEMPERATURE!r})")
    assert polling(asked) is False
    device.observed()


def test_the_subscriptions_of_a_device_are_listed_and_ended_together(polling: Peer, devices: Devices) -> None:
    device = devices()
    listed = f"api.list_device_subscriptions({device.id!r})"
    assert polling(listed) is None

    for path in (TEMPERATURE, HUMIDITY):
        polling(f"api.add_resource_subscription({device.id!r}, {path!r})")
    assert sorted(polling(listed)) == [TEMPERATURE, HUMIDITY]
    device.observed(TEMPERATURE, HUMIDITY)

    polling(f"api.delete_device_subscriptions({device.id!r})")
    assert polling(listed) is None
    device.observed()


def test_the_subscriptions_of_all_devices_are_ended_together(polling: Peer, devices: Devices) -> None:
    several = [devices() for _ in range(2)]
    for device in several:
        polling(f"api.add_resource_subscription({device.id!r}, {TEMPERATURE!r})")
        device.observed(TEMPERATURE)

    polling("api.delete_subscriptions()")

    for device in several:
        device.observed()
        assert polling(f"api.list_device_subscriptions({device.id!r})") is None


def test_a_subscription_lives_over_an_update_and_ends_with_a_full_registration(
    polling: Peer, devices: Devices
) -> None:
    device = devices()
    asked = f"api.get_resource_subscription({device.id!r}, {TEMPERATURE!r})"
    polling(f"api.add_resource_subscription({device.id!r}, {TEMPERATURE!r})")
    device.observed(TEMPERATURE)

    device.drop()
    device.reconnect()
    assert polling(asked) is True

    device.restart()
    assert polling(asked) is False


def test_subscribing_to_an_unknown_device_leaves_nothing(polling: Peer) -> None:
    # The SDK hides the 404 of its own PUT.
    polling("api.add_resource_subscription('no-such-device', '/3303/0/5700')")

    assert polling("api.get_resource_subscription('no-such-device', '/3303/0/5700')") is False


def test_presubscriptions_are_returned_as_they_were_put(sdk: Peer) -> None:
    sdk(
        "api.update_presubscriptions(["
        "{'device_id': 'greenhouse-*', 'resource_paths': ['/3303/*', '/3304/0/5700']},"
        "{'device_type': 'climate'}])"
    )

    listed = sdk("[{k: v for k, v in rule.to_dict().items() if v is not None} for rule in api.list_presubscriptions()]")

    assert listed == [
        {"device_id": "greenhouse-*", "resource_paths": ["/3303/*", "/3304/0/5700"]},
        {"device_type": "climate"},
    ]
    sdk("api.delete_presubscriptions()")
    assert sdk("list(api.list_presubscriptions())") == []


def test_a_bad_presubscription_is_refused(sdk: Peer) -> None:
    with pytest.raises(PeerError) as refused:
        sdk("api.update_presubscriptions([{'device_id': 'wild*card'}])")
    assert refused.value.status == 400


def test_a_presubscribed_device_is_observed_from_its_registration_on(polling: Peer, devices: Devices) -> None:
    device = devices(connect=False)
    polling(
        f"values = Seen(); channel = api.subscribe.channels.ResourceValues({device.id + '*'!r}, ['/3303/*'],"
        " first_value='on_registration'); api.subscribe(channel).add_callback(values)"
    )

    device.connect()
    device.observed(TEMPERATURE)
    device.notify([b"22"])

    got = polling("[(value['resource_path'], value['payload']) for value in values.take(2)]")
    assert got == [(TEMPERATURE, b"0"), (TEMPERATURE, b"22")]


def test_a_presubscription_holds_after_a_full_registration(polling: Peer, devices: Devices) -> None:
    device = devices(connect=False)
    polling(f"api.update_presubscriptions([{{'device_id': {device.id!r}, 'resource_paths': [{TEMPERATURE!r}]}}])")
    device.connect()
    device.observed(TEMPERATURE)

    device.restart()

    device.observed(TEMPERATURE)


# Values are taken one by one here: a callback can only be added once the subscription stands, and the first value
# may be there before it.


def test_resource_values_are_delivered_with_all_their_members(polling: Peer, devices: Devices) -> None:
    device = devices()
    polling(f"values = api.subscribe(api.subscribe.channels.ResourceValues({device.id!r}, {TEMPERATURE!r}))")
    device.observed(TEMPERATURE)
    device.notify([b"21.5"])

    first, second = polling("[values.next().block(timeout=15) for _ in range(2)]")

    assert {"device_id": device.id, "resource_path": TEMPERATURE, "payload": b"0"}.items() <= first.items()
    assert {"payload": b"21.5", "ct": "text/plain", "channel": "notifications"}.items() <= second.items()
    assert second["max_age"] is None or second["max_age"].isdigit()


def test_resource_values_with_a_wildcard_come_from_every_observable_resource(polling: Peer, devices: Devices) -> None:
    device = devices()
    polling(f"values = api.subscribe(api.subscribe.channels.ResourceValues({device.id!r}, '/33*'))")
    device.observed(TEMPERATURE, HUMIDITY)
    device.notify([b"5"])

    got = polling("[values.next().block(timeout=15) for _ in range(4)]")

    told = sorted((value["resource_path"], value["payload"]) for value in got)
    assert told == [(path, value) for path in (TEMPERATURE, HUMIDITY) for value in (b"0", b"5")]


def test_a_stopped_channel_of_resource_values_leaves_no_subscription(polling: Peer, devices: Devices) -> None:
    device = devices()
    polling(f"channel = api.subscribe.channels.ResourceValues({device.id!r}, {TEMPERATURE!r}); api.subscribe(channel)")
    device.observed(TEMPERATURE)

    polling("channel.ensure_stopped()")

    device.observed()
    assert polling(f"api.get_resource_subscription({device.id!r}, {TEMPERATURE!r})") is False
    assert polling("list(api.list_presubscriptions())") == []


def test_a_device_is_told_of_as_it_registers_updates_and_signs_off(polling: Peer, devices: Devices) -> None:
    device = devices(connect=False)
    polling(
        f"told = Seen(); channel = api.subscribe.channels.DeviceStateChanges({device.id!r});"
        "api.subscribe(channel).add_callback(told)"
    )

    device.connect()
    registered = polling("told.get()")
    assert (registered["channel"], registered["device_id"]) == ("registrations", device.id)
    assert registered["queue_mode"] is False
    assert {(found["path"], found["observable"]) for found in registered["resources"]} >= {(TEMPERATURE, True)}

    device.update()
    updated = polling("told.get()")
    assert (updated["channel"], updated["device_id"]) == ("reg_updates", device.id)
    assert [found["path"] for found in updated["resources"]] == ["/other"]

    device.leave()
    assert polling("told.get()") == {"channel": "de_registrations", "device_id": device.id}


def test_state_changes_of_all_devices_are_told(polling: Peer, devices: Devices) -> None:
    polling(
        "told = Seen(); api.subscribe(api.subscribe.channels.DeviceStateChanges(channel='registrations'))"
        ".add_callback(told)"
    )
    mine = [devices().id for _ in range(3)]

    got = [polling("told.get()['device_id']") for _ in mine]

    assert got == mine
