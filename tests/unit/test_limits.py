"""The token bucket, and that the limits have the values that are promised."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from hub.core.limits import Limits, TokenBucket
from tests.clock import ManualClock

pytestmark = pytest.mark.anyio


def test_the_defaults_are_the_promised_ones() -> None:
    limits = Limits()

    assert (limits.body, limits.head, limits.head_lines, limits.message) == (1 << 20, 16 << 10, 100, 256 << 10)
    assert (limits.sockets_per_key, limits.sockets, limits.running_per_application) == (10_000, 20_000, 100_000)
    assert (limits.calls_per_second, limits.burst, limits.payload) == (5000, 10_000, 64 << 10)
    assert (limits.retention, limits.retention_events) == (timedelta(days=1), 100_000)
    assert (limits.ended, limits.disk_floor) == (timedelta(days=7), 64 << 20)
    # The drain and the ends of adapters and engine together must fit into ten seconds (delivery-guarantees I1).
    assert limits.drain <= timedelta(seconds=8)


def test_every_limit_that_can_be_set_limits_something() -> None:
    hub = Path(__file__).parents[2] / "hub"
    read = "\n".join(file.read_text("utf-8") for file in hub.rglob("*.py") if file.name != "limits.py")

    assert [field.name for field in fields(Limits) if re.search(rf"imits\.{field.name}\b", read) is None] == []


def test_a_bucket_gives_its_burst_and_then_its_rate(clock: ManualClock) -> None:
    bucket = TokenBucket(2, 4, clock)

    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0]
    assert bucket.take() == pytest.approx(0.5)
    clock.advance(0.49)
    assert bucket.take() > 0
    clock.advance(0.01)
    assert bucket.take() == 0


def test_a_refused_take_takes_nothing(clock: ManualClock) -> None:
    bucket = TokenBucket(1, 3, clock)
    bucket.take(2)

    assert bucket.take(2) == pytest.approx(1)
    assert bucket.take(1) == 0


def test_a_bucket_never_holds_more_than_its_burst(clock: ManualClock) -> None:
    bucket = TokenBucket(100, 5, clock)
    clock.advance(1_000_000)

    assert bucket.take(5) == 0
    assert bucket.take() > 0


def test_more_than_the_burst_is_owed_afterwards(clock: ManualClock) -> None:
    bucket = TokenBucket(1, 5, clock)

    assert bucket.take(8) == 0
    assert bucket.take() == pytest.approx(4)


def test_a_step_of_the_wall_clock_gives_no_tokens(clock: ManualClock) -> None:
    bucket = TokenBucket(1, 1, clock)
    bucket.take()

    clock.step_wall(86_400)

    assert bucket.take() > 0
