"""Message ids: none comes again while whoever heard it may remember it, nor after a restart of the hub."""

from __future__ import annotations

from contextlib import suppress

import pytest

from adapters.lwm2m.exchange import EXCHANGE_LIFETIME
from adapters.lwm2m.mids import MIDS_PER_LIFETIME, PER_SECOND, Mids
from hub.ports.adapter import Busy, Delivery
from tests.clock import ManualClock

UNSENT = Delivery.NOT_SENT


def test_message_ids_do_not_come_again_within_their_lifetime() -> None:
    clock = ManualClock()
    mids = Mids(clock.now())
    used = [mids.next(clock, UNSENT) for _ in range(MIDS_PER_LIFETIME)]
    assert len(set(used)) == MIDS_PER_LIFETIME
    clock.advance(100)
    with pytest.raises(Busy) as caught:
        mids.next(clock, UNSENT)
    assert caught.value.retry_after == 147.0
    clock.advance(147)
    assert mids.next(clock, UNSENT) not in used


@pytest.mark.parametrize("step", [0.001, 0.011, 0.5, 7.0, 60.0])
def test_no_message_id_comes_again_within_247_seconds_at_whatever_pace(step: float) -> None:
    clock = ManualClock()
    mids, last = Mids(clock.now()), dict[int, float]()
    for _ in range(min(3 * (1 << 16), int(2000 / step))):
        with suppress(Busy):
            for _ in range(1 if step < 1 else 2000):
                mid, now = mids.next(clock, UNSENT), clock.monotonic()
                assert now - last.get(mid, -1e9) >= EXCHANGE_LIFETIME
                last[mid] = now
        clock.advance(step)


@pytest.mark.parametrize("silence", [82.0, 160.0, 232.0, 246.0])
@pytest.mark.parametrize("before", [1, 3000, 20_000, MIDS_PER_LIFETIME - 1])
def test_no_message_id_comes_again_within_247_seconds_when_a_burst_follows_a_silence(
    silence: float, before: int
) -> None:
    clock = ManualClock()
    mids = Mids(clock.now())
    mids.next(clock, UNSENT)
    clock.advance(246)
    used = {mids.next(clock, UNSENT) for _ in range(before)}
    clock.advance(silence)
    burst: list[int] = []
    with suppress(Busy):
        burst += (mids.next(clock, UNSENT) for _ in range(MIDS_PER_LIFETIME))
    assert len(set(burst)) == len(burst) >= 16_000
    assert used.isdisjoint(burst)


@pytest.mark.parametrize("step", [-86_400.0, 450.0, 500.0, 655.36, 86_400.0])
def test_a_clock_that_is_set_keeps_nobody_waiting_and_repeats_no_message_id(step: float) -> None:
    clock = ManualClock()
    mids = Mids(clock.now())
    used = {mids.next(clock, UNSENT) for _ in range(20_000)}
    clock.step_wall(step)
    clock.advance(EXCHANGE_LIFETIME - 1)
    used |= {mids.next(clock, UNSENT) for _ in range(1000)}
    clock.advance(1)
    after = {mids.next(clock, UNSENT) for _ in range(10_000)}
    assert len(after) == 10_000
    assert after.isdisjoint(used)


@pytest.mark.parametrize("pace", [3.0, 7.0, 100.0, 400.0])
def test_message_ids_after_a_restart_were_not_used_within_247_seconds_before_it(pace: float) -> None:
    clock = ManualClock()
    mids, used = Mids(clock.now()), list[tuple[float, int]]()
    while clock.monotonic() < 1000 + 2.5 * (1 << 16) / PER_SECOND:
        used += [(clock.monotonic(), mids.next(clock, UNSENT)) for _ in range(20)]
        clock.advance(0.5)
        after = Mids(clock.now())
        first = {after.next(clock, UNSENT) for _ in range(200)}
        assert first.isdisjoint(mid for at, mid in used[-6000:] if clock.monotonic() - at < EXCHANGE_LIFETIME)
        clock.advance(pace - 0.5)
