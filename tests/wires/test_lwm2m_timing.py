"""The two ways to have much called at its time with one timer: alarms to the moment, and the wheel to the second."""

from __future__ import annotations

from adapters.lwm2m.alarms import Alarms
from adapters.lwm2m.wheel import Wheel
from tests.clock import ManualClock


def test_alarms_ring_once_in_their_order_and_not_when_they_were_cancelled() -> None:
    clock, rung = ManualClock(), []
    alarms: Alarms[str] = Alarms(clock, rung.append)
    now = clock.monotonic()
    third, first = alarms.set(now + 3, "third"), alarms.set(now + 1, "first")
    second = alarms.set(now + 2, "second")
    clock.advance(1)
    assert rung == ["first"]
    alarms.cancel(second)
    alarms.cancel(first)  # which has rung
    clock.advance(5)
    alarms.cancel(third)
    assert (rung, len(alarms), clock.pending) == (["first", "third"], 0, 0)


def test_an_alarm_may_be_set_while_another_rings() -> None:
    clock, rung = ManualClock(), []

    def ring(left: int) -> None:
        rung.append(clock.monotonic())
        if left:
            alarms.set(clock.monotonic() + 2, left - 1)

    alarms: Alarms[int] = Alarms(clock, ring)
    began = clock.monotonic()
    alarms.set(began + 2, 2)
    clock.advance(60)
    assert [when - began for when in rung] == [2, 4, 6]


def test_what_was_cancelled_takes_no_room_for_long() -> None:
    clock = ManualClock()
    alarms: Alarms[int] = Alarms(clock, lambda _: None)
    alarms.set(clock.monotonic() + 100, -1)
    for number in range(10_000):
        alarms.cancel(alarms.set(clock.monotonic() + 50, number))
        assert len(alarms._heap) <= 70
    assert (len(alarms), clock.pending) == (1, 1)


def test_the_wheel_calls_in_time_and_not_what_was_taken_back() -> None:
    clock = ManualClock()
    called: list[str] = []
    wheel: Wheel[str] = Wheel(clock, called.append)
    wheel.add(1005.2, "late")
    wheel.add(1001.0, "early")
    slot = wheel.add(1003.0, "never")
    wheel.discard(slot, "never")
    clock.advance(5.1)
    assert called == ["early"]
    clock.advance(1)
    assert called == ["early", "late"]
    assert clock.pending == 0
