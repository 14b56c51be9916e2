"""The vendor's Python SDK stops its notifications, whatever its polls are doing, and starts them again."""

from __future__ import annotations

from collections.abc import Callable

from tests.interop.conftest import Demo
from tests.interop.detour import Detour
from tests.interop.peer import Peer

SEED = "015f2fa34d310000000000010030036c"
READ = f"api.get_resource_value({SEED!r}, '/3/0/0', timeout=15)"
STOPS = 10
AT_ONCE = 5

# As a user does it who is only interested in one value: the thread that polls hands it over, the main thread stops.
STOP_AT_THE_VALUE = f"""
took = []
for _ in range({STOPS}):
    channel = api.subscribe.channels.CurrentResourceValue({SEED!r}, '/3/0/0')
    api.subscribe(channel).next().block(timeout=15)
    took.append(timed(api.stop_notifications))
took
"""


def test_an_idle_poll_is_stopped_at_once(sdk: Peer) -> None:
    sdk(READ)

    assert max(sdk(f"{READ}; timed(api.stop_notifications)") for _ in range(3)) < 0.5


def test_fifty_stops_right_after_a_value_are_prompt(demo: Demo, dial: Callable[[str, str], Peer]) -> None:
    peers = [dial(demo.url, demo.key()) for _ in range(AT_ONCE)]
    running = [peer.begin(STOP_AT_THE_VALUE) for peer in peers]

    took = [seconds for one in running for seconds in one.result(timeout=90)]

    assert len(took) == 50
    assert max(took) < 2.0, took
    assert [peer("logged") for peer in peers] == [[]] * AT_ONCE


def test_a_poll_that_comes_after_its_own_end_is_not_held_for_long(
    demo: Demo, dial: Callable[[str, str], Peer]
) -> None:
    # The SDK's thread may send its next poll while its DELETE is on the way. Here that poll always comes second.
    with Detour(demo.hub.port) as detour:
        peer = dial(detour.url, demo.key())
        for _ in range(3):
            peer(READ)
            detour.hold_polls()
            peer(READ)
            assert detour.held.wait(15)

            assert peer("timed(api.stop_notifications)") < 2.0

        assert peer("logged") == []


def test_after_a_stop_the_next_read_starts_it_again(sdk: Peer) -> None:
    for _ in range(3):
        assert sdk(READ) == "Asyncid Simulations"
        sdk("api.stop_notifications()")

    assert sdk("api.has_active_notification_thread") is False


def test_everything_unsubscribed_is_stopped_too(sdk: Peer) -> None:
    sdk("api.subscribe(api.subscribe.channels.DeviceStateChanges())")
    sdk(READ)

    assert sdk("timed(api.subscribe.unsubscribe_all)") < 2.0
    assert sdk("api.has_active_notification_thread") is False
