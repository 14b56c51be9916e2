"""When registrations end, and what is remembered of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hub.model.device import Device, Registration
from hub.model.event import EventKind
from hub.ports.adapter import DeviceEvent
from hub.ports.adapter import EventKind as Heard
from tests.core_rig import Core, running_core

pytestmark = pytest.mark.anyio


async def heard(core: Core, kind: Heard, **attrs: Any) -> None:
    """The lamp reports."""
    ctx = core.adapter.ctx
    assert ctx is not None
    await ctx.accept(DeviceEvent(kind, "lamp", ctx.clock.monotonic(), attrs=attrs))


async def after(core: Core, seconds: float) -> Registration:
    """How the lamp is registered so much later."""
    core.clock.advance(seconds)
    await core.hub.presence.expire()
    lamp: Device | None = core.hub.directory.device("acme", "lamp")
    assert lamp is not None
    return lamp.registration


async def test_a_registration_ends_at_its_time_after_updates_that_moved_it_either_way(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        await heard(core, Heard.REGISTERED, lifetime=100)
        first = await after(core, 90)
        await heard(core, Heard.UPDATED, lifetime=100)
        moved = await after(core, 99)
        await heard(core, Heard.UPDATED, lifetime=1000)
        await heard(core, Heard.UPDATED, lifetime=10)
        sooner = [await after(core, 9), await after(core, 1)]

        assert (first, moved) == (Registration.REGISTERED, Registration.REGISTERED)
        assert sooner == [Registration.REGISTERED, Registration.EXPIRED]
        assert [event.kind for event in await core.events()].count(EventKind.EXPIRED) == 1


async def test_updates_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.core.presence.FEW_ENDS", 20)
    async with running_core(tmp_path) as core:
        await heard(core, Heard.REGISTERED, lifetime=10_000)
        for _ in range(50):
            await after(core, 1)
            await heard(core, Heard.UPDATED, lifetime=10_000)
        longer = len(core.hub.presence._ends)
        lamp = core.hub.directory.device("acme", "lamp")
        assert lamp is not None and lamp.expires_at is not None
        for number in range(60):
            await heard(core, Heard.UPDATED, lifetime=9_000 - number)

        assert longer == 1
        assert len(core.hub.presence._ends) <= 20 + 3
        assert await after(core, 9_000 - 60) is Registration.REGISTERED
        assert await after(core, 1) is Registration.EXPIRED
