"""The real clock on the loop that the hub runs on."""

from __future__ import annotations

import asyncio

import pytest

from hub.ports.clock import SystemClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


async def test_nobody_is_woken_before_the_time_that_was_asked_for() -> None:
    clock, early = SystemClock(), []
    for step in range(100):
        until, woken = clock.monotonic() + 0.0002 + step * 0.00003, asyncio.Event()
        clock.call_at(until, woken.set)
        await woken.wait()
        early.append(clock.monotonic() < until)
        until = clock.monotonic() + 0.0002 + step * 0.00003
        await clock.sleep_until(until)
        early.append(clock.monotonic() < until)

    assert not any(early)
