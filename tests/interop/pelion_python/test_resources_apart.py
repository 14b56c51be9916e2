"""The vendor's Python SDK passes over the values of a message behind the first that it has no queue for: it is told
values of one resource only in each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.interop.conftest import Demo
from tests.interop.dialling import HUMIDITY, TEMPERATURE, Devices
from tests.interop.peer import Peer
from tests.interop.receiver import Receiver

SEED = "015f2fa34d310000000000010030036c"
VALUES = [b"%d" % number for number in range(1, 51)]


@pytest.fixture
def polling(sdk: Peer) -> Peer:
    """An SDK whose notification channel exists."""
    sdk(f"api.get_resource_value({SEED!r}, '/3/0/0', timeout=15)")
    return sdk


def test_a_queue_gets_every_value_beside_resource_values_of_another_resource(polling: Peer, devices: Devices) -> None:
    device = devices()
    polling(f"warm = api.subscribe(api.subscribe.channels.ResourceValues({device.id!r}, {TEMPERATURE!r}))")
    polling(f"wet = api.add_resource_subscription({device.id!r}, {HUMIDITY!r}, queue_size=100)")
    device.observed(TEMPERATURE, HUMIDITY)
    device.notify(VALUES)

    assert polling("[wet.get(timeout=15) for _ in range(51)]") == [b"0", *VALUES]
    assert polling("[warm.next().block(timeout=15)['payload'] for _ in range(51)]") == [b"0", *VALUES]


def test_what_a_program_before_subscribed_hides_nothing(
    demo: Demo, dial: Callable[[str, str], Peer], devices: Devices
) -> None:
    key, device = demo.key(), devices()
    before = dial(demo.url, key)
    before(f"warm = api.add_resource_subscription({device.id!r}, {TEMPERATURE!r}, queue_size=100)")
    before("api.start_notifications(); warm.get(timeout=15)")
    before.close()
    sdk = dial(demo.url, key)
    sdk(f"wet = api.add_resource_subscription({device.id!r}, {HUMIDITY!r}, queue_size=100); api.start_notifications()")
    device.observed(TEMPERATURE, HUMIDITY)

    device.notify(VALUES)

    assert sdk("[wet.get(timeout=15) for _ in range(51)]") == [b"0", *VALUES]
    sdk("api.stop_notifications()")


def test_what_was_just_unsubscribed_hides_nothing(polling: Peer, devices: Devices) -> None:
    device = devices()
    for name, path in (("warm", TEMPERATURE), ("wet", HUMIDITY)):
        polling(f"{name} = api.add_resource_subscription({device.id!r}, {path!r}, queue_size=100)")
    device.observed(TEMPERATURE, HUMIDITY)
    polling("warm.get(timeout=15), wet.get(timeout=15)")
    # The SDK's thread stands in the middle of a message while more comes.
    polling("import threading; came, gate, route = threading.Event(), threading.Event(), api.subscribe.notify")
    polling("api.subscribe.notify = lambda data: (came.set(), gate.wait(15), route(data))[2]")
    device.notify([b"1"])
    polling("came.wait(15)")
    device.notify([b"2"])

    polling(f"api.delete_resource_subscription({device.id!r}, {TEMPERATURE!r}); gate.set()")
    device.observed(HUMIDITY)
    device.notify([b"3"])

    assert polling("[wet.get(timeout=15) for _ in range(3)]") == [b"1", b"2", b"3"]


def test_a_webhook_gets_values_of_one_resource_in_each_message(
    sdk: Peer, receiver: Receiver, devices: Devices
) -> None:
    device = devices()
    sdk("api = ConnectAPI(dict(config, autostart_notification_thread=False))")
    sdk(f"api.update_webhook({receiver.url!r})")
    receiver.next()
    for name, path in (("warm", TEMPERATURE), ("wet", HUMIDITY)):
        sdk(f"{name} = api.add_resource_subscription({device.id!r}, {path!r}, queue_size=100)")
    device.observed(TEMPERATURE, HUMIDITY)
    sdk(f"api._queues[{device.id!r}].pop({TEMPERATURE!r})")
    device.notify([b"1", b"2"])

    while not sdk("wet.qsize() == 3"):
        sdk(f"api.notify_webhook_received(payload={receiver.next().text!r})")

    assert sdk("[wet.get() for _ in range(3)]") == [b"0", b"1", b"2"]
