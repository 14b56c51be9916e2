"""The vendor's Python SDK sets a webhook, takes it over from its own poll, and goes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.interop.conftest import Demo
from tests.interop.detour import Detour
from tests.interop.dialling import TEMPERATURE, Devices
from tests.interop.peer import Peer, PeerError
from tests.interop.receiver import Receiver

SEED = "015f2fa34d310000000000010030036c"
READ = f"api.get_resource_value_async({SEED!r}, '/3/0/0')"


@pytest.fixture
def hooked(sdk: Peer) -> Peer:
    """An SDK as its documentation sets it up for webhooks: it does not poll by itself."""
    sdk("api = ConnectAPI(dict(config, autostart_notification_thread=False))")
    return sdk


def until_it_has(sdk: Peer, receiver: Receiver, done: str) -> None:
    """Hand what the receiver gets to the SDK, as the user's web server does, until it has what it waits for."""
    while not sdk(done):
        sdk(f"api.notify_webhook_received(payload={receiver.next().text!r})")


def test_a_webhook_is_tried_set_shown_and_deleted(hooked: Peer, receiver: Receiver) -> None:
    assert hooked("api.get_webhook()") is None

    hooked(f"api.update_webhook({receiver.url!r}, {{'authorization': 'f00d'}})")
    trial = receiver.next()
    assert (trial.method, trial.text, trial.headers["authorization"]) == ("PUT", "{}", "f00d")
    assert hooked("(lambda hook: (hook.url, hook.headers))(api.get_webhook())") == (
        receiver.url,
        {"authorization": "f00d"},
    )

    hooked("api.delete_webhook()")
    assert hooked("api.get_webhook()") is None
    assert hooked("api.delete_webhook()") is None


def test_a_webhook_that_refuses_its_trial_is_not_set(hooked: Peer, receiver: Receiver) -> None:
    receiver.status = 500

    with pytest.raises(PeerError) as refused:
        hooked(f"api.update_webhook({receiver.url!r})")

    assert refused.value.status == 400
    assert hooked("api.get_webhook()") is None


def test_answers_come_by_webhook(hooked: Peer, receiver: Receiver) -> None:
    hooked(f"api.update_webhook({receiver.url!r}, {{'x-mine': 'yes'}})")
    receiver.next()

    hooked(f"reading = {READ}")
    delivery = receiver.next()
    hooked(f"api.notify_webhook_received(payload={delivery.text!r})")

    assert hooked("reading.wait(1)") == "Asyncid Simulations"
    assert delivery.headers["x-mine"] == "yes"
    assert delivery.headers["content-type"].startswith("application/json")


def test_subscribed_values_come_by_webhook(hooked: Peer, receiver: Receiver, devices: Devices) -> None:
    device = devices()
    hooked(f"api.update_webhook({receiver.url!r})")
    receiver.next()
    hooked(f"values = api.add_resource_subscription({device.id!r}, {TEMPERATURE!r}, queue_size=10)")
    device.observed(TEMPERATURE)
    device.notify([b"21.5"])

    until_it_has(hooked, receiver, "values.qsize() == 2")

    assert hooked("[values.get(timeout=1) for _ in range(2)]") == [b"0", b"21.5"]


def test_a_second_webhook_takes_the_place_of_the_first(hooked: Peer, receiver: Receiver) -> None:
    hooked(f"api.update_webhook({receiver.url!r})")
    receiver.next()
    with Receiver() as second:
        hooked(f"api.update_webhook({second.url!r})")
        assert second.next().text == "{}"
        assert hooked("api.get_webhook().url") == second.url
        hooked(f"reading = {READ}")
        until_it_has(hooked, second, "reading.is_done")

    assert receiver.none


def test_a_webhook_takes_over_from_a_live_poll_and_the_poll_takes_over_again(sdk: Peer, receiver: Receiver) -> None:
    assert sdk(f"{READ}.wait(15)") == "Asyncid Simulations"
    assert sdk("polling()")

    sdk(f"api.update_webhook({receiver.url!r})")
    assert receiver.next().text == "{}"
    sdk(f"reading = {READ}")
    until_it_has(sdk, receiver, "reading.is_done")
    assert sdk("reading.wait(1)") == "Asyncid Simulations"
    assert sdk("api.get_webhook().url") == receiver.url

    # The thread still polls: every poll is refused while the webhook is there, and the next after it is taken.
    sdk("api.delete_webhook()")
    assert sdk(f"{READ}.wait(15)") == "Asyncid Simulations"
    assert sdk("polling()")
    refused = sdk("logged[:]; logged.clear()") or []
    assert all("(400)" in line or "(410)" in line for line in refused)


def test_a_poll_that_comes_in_between_does_not_keep_the_webhook_out(
    demo: Demo, dial: Callable[[str, str], Peer], receiver: Receiver
) -> None:
    # Taking over is a DELETE of the poll's channel and a PUT of the webhook; the thread's next poll may come between.
    with Detour(demo.hub.port) as detour:
        sdk = dial(detour.url, demo.key())
        sdk(f"{READ}.wait(15)")
        detour.hold_polls()
        sdk(f"{READ}.wait(15)")
        assert detour.held.wait(15)

        sdk(f"api.update_webhook({receiver.url!r})")

        assert receiver.next().text == "{}"
        assert sdk("api.get_webhook().url") == receiver.url
