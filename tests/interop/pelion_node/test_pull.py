"""The vendor's JavaScript SDK over long poll; the hub is a process of its own (`hub dev`)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.interop.conftest import Demo
from tests.interop.dialling import HUMIDITY, REBOOT, TEMPERATURE, Devices
from tests.interop.peer import Peer, PeerError
from tests.interop.pelion_node.conftest import POLLS_SEEN
from tests.interop.receiver import Receiver

SEED = "015f2fa34d310000000000010030036c"


@pytest.fixture
def polling(sdk: Peer) -> Peer:
    """An SDK that polls and whose notification channel exists."""
    sdk(f"await api.startNotifications({{interval: 20}}); await api.getResourceValue('{SEED}', '/3/0/0')")
    return sdk


def test_devices_are_listed_in_pages(sdk: Peer, devices: Devices) -> None:
    mine = {devices().id for _ in range(3)}

    whole = sdk("return (await api.listConnectedDevices()).data.map((device) => device.id)")
    paged = sdk(
        """
        const ids = [];
        let page, after;
        do {
          page = await api.listConnectedDevices({limit: 2, after});
          ids.push(...page.data.map((device) => device.id));
          after = ids[ids.length - 1];
        } while (page.hasMore);
        return ids;
        """
    )

    assert mine | {SEED} <= set(whole)
    assert paged == whole


def test_the_number_of_devices_is_told(sdk: Peer) -> None:
    counted = sdk("return (await api.listConnectedDevices({include: ['totalCount']})).totalCount")

    assert counted == len(sdk("return (await api.listConnectedDevices()).data.map((device) => device.id)"))


def test_devices_are_listed_by_their_ids(sdk: Peer, devices: Devices) -> None:
    wanted, _ = devices().id, devices()

    listed = sdk(
        f"return (await api.listConnectedDevices({{filter: {{id: {{$in: ['{wanted}', '{SEED}', 'nobody']}}}}}}))"
        ".data.map((device) => device.id)"
    )

    assert sorted(listed) == sorted([wanted, SEED])


def test_resources_are_listed(sdk: Peer, devices: Devices) -> None:
    device = devices()

    listed = sdk(f"return (await api.listResources('{device.id}')).map((found) => [found.path, found.observable])")

    assert sorted(listed) == sorted([[TEMPERATURE, True], [HUMIDITY, True], [REBOOT, False]])


def test_a_value_is_read_written_and_read_again(polling: Peer) -> None:
    assert polling(f"return String(await api.getResourceValue('{SEED}', '/3/0/0'))") == "Asyncid Simulations"

    polling(f"await api.setResourceValue('{SEED}', '/5/0/1', 'value2')")
    assert polling(f"return String(await api.getResourceValue('{SEED}', '/5/0/1'))") == "value2"


def test_an_execution_reaches_the_device_with_its_payload(polling: Peer, devices: Devices) -> None:
    device = devices()
    device.hold()
    executing = polling.begin(f"return String(await api.executeResource('{device.id}', '{REBOOT}', 'now'))")
    asked = device.asked()
    device.answer(asked, b"rebooting")

    assert executing.result() == "rebooting"
    assert (asked.frame.method, asked.frame.target, asked.frame.payload) == ("POST", REBOOT, b"now")


def test_ten_reads_in_flight_each_get_their_own_answer(polling: Peer, devices: Devices) -> None:
    targets = [f"/3303/{number}/5700" for number in range(10)]
    device = devices()
    # The SDK's ids are the millisecond and a number below 10,000: two of one millisecond may be the same.
    reading = polling.begin(
        f"const reads = []; for (const target of {json.dumps(targets)}) {{"
        f" reads.push(api.getResourceValue('{device.id}', target));"
        " const now = Date.now(); while (Date.now() === now); }"
        " return (await Promise.all(reads)).map(String)"
    )

    assert reading.result() == targets


def test_a_read_starts_its_own_poll_where_that_is_wanted(sdk: Peer) -> None:
    sdk("s.api = new ConnectApi({host, apiKey, autostartNotifications: true})")

    assert sdk(f"return String(await api.getResourceValue('{SEED}', '/3/0/0'))") == "Asyncid Simulations"


def test_values_of_a_subscription_come_to_its_function(polling: Peer, devices: Devices) -> None:
    device = devices()
    polling(
        "s.values = seen();"
        f"await api.addResourceSubscription('{device.id}', '{TEMPERATURE}', (error, value) => values(value))"
    )
    assert polling(f"return await api.getResourceSubscription('{device.id}', '{TEMPERATURE}')") is True
    device.observed(TEMPERATURE)
    device.notify([b"21.5", b"21.75"])

    assert polling("return [await values.next(), await values.next(), await values.next()]") == ["0", "21.5", "21.75"]

    polling(f"await api.deleteResourceSubscription('{device.id}', '{TEMPERATURE}')")
    assert polling(f"return await api.getResourceSubscription('{device.id}', '{TEMPERATURE}')") is False
    device.observed()


def test_ten_loops_that_poll_at_once_are_told_every_value_in_order(sdk: Peer, devices: Devices) -> None:
    # The SDK forgets that it polls and begins one more loop each time.
    device = devices()
    sdk("for (let loop = 0; loop < 10; loop++) await api.startNotifications({interval: 20})")
    sdk(
        "s.values = seen();"
        f"await api.addResourceSubscription('{device.id}', '{TEMPERATURE}', (error, value) => values(value))"
    )
    device.observed(TEMPERATURE)
    told = [sdk("return await values.next()")]
    for number in range(0, 60, 3):
        device.notify([b"%d" % value for value in range(number, number + 3)])
        if number % 15 == 0:
            told += sdk("return [await values.next(), await values.next(), await values.next()]")

    left = "const left = []; for (let count = 0; count < 48; count++) left.push(await values.next()); return left"
    assert told + sdk(left) == ["0", *(str(number) for number in range(60))]


def test_the_subscriptions_of_all_devices_are_ended_together(polling: Peer, devices: Devices) -> None:
    several = [devices() for _ in range(2)]
    for device in several:
        polling(f"await api.addResourceSubscription('{device.id}', '{TEMPERATURE}', () => {{}})")
        device.observed(TEMPERATURE)

    polling("await api.deleteSubscriptions()")

    for device in several:
        device.observed()
        assert polling(f"return await api.listDeviceSubscriptions('{device.id}')") is None


def test_presubscriptions_are_put_shown_and_deleted(sdk: Peer) -> None:
    rule = {"deviceId": "greenhouse-*", "resourcePaths": ["/3303/*"]}
    assert sdk("return await api.listPresubscriptions()") == []

    sdk(f"await api.updatePresubscriptions([{json.dumps(rule)}])")
    assert sdk("return await api.listPresubscriptions()") == [rule]

    sdk("await api.deletePresubscriptions()")
    assert sdk("return await api.listPresubscriptions()") == []


def test_resource_values_are_observed_as_a_filter_says(polling: Peer, devices: Devices) -> None:
    device = devices()
    polling(
        "s.values = seen();"
        f"const observer = await api.subscribe.resourceValues({{deviceId: '{device.id}', resourcePaths: ['/33*']}});"
        "observer.addListener((told) => values([told.path, told.payload]))"
    )
    device.observed(TEMPERATURE, HUMIDITY)
    device.notify([b"5"])

    # The first values may have come before there was somebody to tell them to.
    missing = {(TEMPERATURE, "5"), (HUMIDITY, "5")}
    while missing:
        path, value = polling("return await values.next()")
        assert (path, value) in missing | {(TEMPERATURE, "0"), (HUMIDITY, "0")}
        missing.discard((path, value))


def test_without_paths_the_values_of_every_observable_resource_are_told(polling: Peer, devices: Devices) -> None:
    device = devices()
    polling(
        f"s.values = seen(); const observer = await api.subscribe.resourceValues({{deviceId: '{device.id}'}});"
        "observer.addListener((told) => told.payload === '5' && values(told.path))"
    )
    device.observed(TEMPERATURE, HUMIDITY)
    device.notify([b"5"])

    assert sorted(polling("return [await values.next(), await values.next()]")) == [TEMPERATURE, HUMIDITY]


def test_without_a_device_the_values_of_every_device_are_told_that_registers(polling: Peer, devices: Devices) -> None:
    device = devices(connect=False)
    polling("s.values = seen(); s.observer = await api.subscribe.resourceValues({})")
    polling(f"observer.addListener((told) => told.deviceId === '{device.id}' && values([told.path, told.payload]))")

    device.connect()

    told = polling("return [await values.next(), await values.next()]")
    polling("await api.deletePresubscriptions()")  # or later devices of this module would be observed, too
    assert sorted(told) == [[TEMPERATURE, "0"], [HUMIDITY, "0"]]
    device.observed()


def test_a_device_is_told_of_as_it_registers_updates_and_signs_off(polling: Peer, devices: Devices) -> None:
    device = devices(connect=False)
    polling(
        "s.told = seen();"
        "api.subscribe.deviceStateChanges().addListener((event) =>"
        f" event.id === '{device.id}' && told(event.event))"
    )
    device.connect()
    device.update()
    device.leave()

    assert polling("return [await told.next(), await told.next(), await told.next()]") == [
        "registration",
        "reregistration",
        "deregistration",
    ]


def test_an_outcome_above_499_does_not_take_others_with_it(demo: Demo, sdk: Peer, devices: Devices) -> None:
    # The SDK throws a whole message away when all failures in it are 5xx. Both are there before it begins to poll.
    device = devices()
    device.hold()
    reading = sdk.begin(
        f"const both = ['{TEMPERATURE}', '{HUMIDITY}'].map((path) => api.getResourceValue('{device.id}', path));"
        "return (await Promise.race(both.map((one) => one.catch(() => new Promise(() => {}))))).toString()"
    )
    device.answer(device.asked(), b"", 500)
    device.answer(device.asked(), b"still fine")
    # Calls of a device go one by one: when a third one has ended, both have.
    device.go()
    demo.hub.call_and_wait(device.id, "third")
    sdk("await api.startNotifications({interval: 20})")

    assert reading.result() == "still fine"


def test_an_unknown_device_is_an_error(sdk: Peer) -> None:
    # This SDK turns a 404 of its lists into null, that of a call into an error.
    assert sdk("return await api.listResources('no-such-device')") is None
    for call in ("getResourceValue", "setResourceValue", "executeResource"):
        with pytest.raises(PeerError) as refused:
            sdk(f"await api.{call}('no-such-device', '/3/0/0')")
        assert refused.value.status == 404


def test_an_unknown_resource_is_an_error(sdk: Peer) -> None:
    with pytest.raises(PeerError) as refused:
        sdk(f"await api.getResourceValue('{SEED}', '/9999/0/0')")
    assert refused.value.status == 400


def test_a_wrong_key_is_refused(demo: Demo, dial: Callable[[str, str], Peer]) -> None:
    stranger = dial(demo.url, "ak_nobody_has_this_key")

    with pytest.raises(PeerError) as refused:
        stranger("await api.listConnectedDevices()")
    assert refused.value.status == 401


def test_notifications_stopped_and_started_again_still_come(polling: Peer) -> None:
    # Its old loop goes on polling, the new one polls beside it: none may be refused to death.
    polling("await api.stopNotifications(); await api.startNotifications({interval: 20})")

    for _ in range(5):
        assert polling(f"return String(await api.getResourceValue('{SEED}', '/3/0/0'))") == "Asyncid Simulations"


def test_a_webhook_is_set_shown_fed_and_deleted(sdk: Peer, receiver: Receiver) -> None:
    sdk("s.api = new ConnectApi({host, apiKey, handleNotifications: true})")
    assert sdk("return await api.getWebhook()") is None

    sdk(f"await api.updateWebhook('{receiver.url}', {{authorization: 'f00d'}})")
    assert receiver.next().text == "{}"
    assert sdk("const hook = await api.getWebhook(); return [hook.url, hook.headers]") == [
        receiver.url,
        {"authorization": "f00d"},
    ]
    reading = sdk.begin(f"return String(await api.getResourceValue('{SEED}', '/3/0/0'))")
    sdk(f"api.notify({receiver.next().text})")
    assert reading.result() == "Asyncid Simulations"

    sdk("await api.deleteWebhook()")
    assert sdk("return await api.getWebhook()") is None


def test_a_webhook_takes_over_from_a_live_poll_and_a_poll_takes_over_again(
    polling: Peer, demo: Demo, key: str, receiver: Receiver
) -> None:
    polling(POLLS_SEEN)
    polling(f"await api.updateWebhook('{receiver.url}', {{}}, true)")
    assert receiver.next().text == "{}"
    # The old loop polls on; it is refused and displaces nothing.
    polling("while (await polls.next() !== 400);")
    reading = polling.begin(f"return String(await api.getResourceValue('{SEED}', '/3/0/0'))")
    polling(f"api.notify({receiver.next().text})")
    assert reading.result() == "Asyncid Simulations"
    assert demo.hub.ask("GET", "v2/notification/channel", key=key) == {"delivery_mechanism": "CALLBACK"}

    with pytest.raises(PeerError, match="webhook already exists"):
        polling("await new ConnectApi({host, apiKey}).startNotifications()")
    polling("s.api = new ConnectApi({host, apiKey, forceClear: true}); await api.startNotifications({interval: 20})")
    assert polling(f"return String(await api.getResourceValue('{SEED}', '/3/0/0'))") == "Asyncid Simulations"
    assert polling("return await api.getWebhook()") is None
