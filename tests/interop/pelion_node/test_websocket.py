"""Frames of the notification WebSocket are handed to the vendor's JavaScript SDK, as its users do it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.interop.conftest import Demo
from tests.interop.dialling import HUMIDITY, TEMPERATURE, Devices
from tests.interop.peer import Peer, PeerError
from tests.interop.pelion_node.conftest import POLLS_SEEN

SEED = "015f2fa34d310000000000010030036c"
PATIENCE = 15.0


@pytest.fixture
def frames(demo: Demo, key: str, sdk: Peer) -> Iterator[ClientConnection]:
    """The open socket of the SDK's application."""
    sdk("s.api = new ConnectApi({host, apiKey, handleNotifications: true})")
    demo.hub.ask("PUT", "v2/notification/websocket", key=key)
    address = demo.url.replace("http:", "ws:") + "v2/notification/websocket-connect"
    with connect(address, subprotocols=["wss", f"pelion_{key}"], compression=None, proxy=None) as socket:  # type: ignore[list-item]
        yield socket


def hand_over(frames: ClientConnection, sdk: Peer) -> None:
    """Give the next frame to the SDK; JSON is an expression of JavaScript."""
    frame = frames.recv(timeout=PATIENCE)
    assert isinstance(frame, str)
    sdk(f"api.notify({frame})")


def test_answers_come_by_frames(frames: ClientConnection, sdk: Peer) -> None:
    reading = sdk.begin(f"return String(await api.getResourceValue('{SEED}', '/3/0/0'))")
    hand_over(frames, sdk)

    assert reading.result() == "Asyncid Simulations"


def test_a_refusal_of_the_device_comes_by_frames(frames: ClientConnection, sdk: Peer, devices: Devices) -> None:
    device = devices()
    # The registration of the device itself is told first.
    hand_over(frames, sdk)
    device.hold()
    reading = sdk.begin(f"await api.getResourceValue('{device.id}', '{TEMPERATURE}')")
    device.answer(device.asked(), b"", 405)
    hand_over(frames, sdk)

    with pytest.raises(PeerError) as refused:
        reading.result()
    assert refused.value.status == 405


def test_values_and_registrations_come_by_frames(
    frames: ClientConnection, sdk: Peer, key: str, demo: Demo, devices: Devices
) -> None:
    sdk(
        "s.told = seen();"
        "api.subscribe.deviceStateChanges().addListener((event) => told([event.event, event.id]));"
        "api.on('notification', (event) => told([event.path, event.payload]))"
    )
    device = devices()
    # With `handleNotifications` this SDK cannot subscribe by itself.
    for path in (TEMPERATURE, HUMIDITY):
        demo.hub.ask("PUT", f"v2/subscriptions/{device.id}{path}", key=key)
    device.observed(TEMPERATURE, HUMIDITY)
    device.notify([b"21.5"])

    told: list[list[str]] = []
    while len(told) < 5:
        hand_over(frames, sdk)
        told += sdk("const got = []; while (told.count()) got.push(await told.next()); return got")

    assert told[0] == ["registration", device.id]
    assert sorted(told[1:]) == [[path, value] for path in (TEMPERATURE, HUMIDITY) for value in ("0", "21.5")]


def test_a_subscription_beside_the_socket_displaces_nothing(
    frames: ClientConnection, sdk: Peer, key: str, demo: Demo, devices: Devices
) -> None:
    device = devices()
    # Without `handleNotifications` this SDK subscribes by itself, and begins to poll each time.
    sdk(f"s.api = new ConnectApi({{host, apiKey}}); s.values = seen(); {POLLS_SEEN}")
    sdk(f"await api.addResourceSubscription('{device.id}', '{TEMPERATURE}', (error, value) => values(value))")
    assert sdk("return await polls.next()") == 400
    device.observed(TEMPERATURE)
    device.notify([b"21.5"])

    while sdk("return values.count()") < 2:
        hand_over(frames, sdk)
    assert sdk("return [await values.next(), await values.next()]") == ["0", "21.5"]
    assert demo.hub.ask("GET", "v2/notification/channel", key=key) == {"delivery_mechanism": "WEB_SOCKET"}
