"""Cases 19 and 20 of the adapter contract with the real core above the adapter: restarts, age, calls to the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.core.hub import Hub
from hub.core.intake import Taken
from hub.engines.sqlite import SqliteEngine
from hub.model.call import Call, CallSpec, CallState, Stage
from hub.model.device import Device, Presence, Registration
from hub.model.event import Event, EventKind, Position
from hub.model.ids import CallId
from hub.model.outcome import Ending
from hub.model.principal import Scope
from hub.model.record import Kind, Record
from tests.clock import ManualClock
from tests.contracts.adapter_case import OBSERVABLE, PATIENCE, unless_it_cannot
from tests.core_rig import PRINCIPAL, SEAL

_LONG = timedelta(hours=1)


class Under:
    """A hub with one rig's adapter in it."""

    def __init__(self, hub: Hub, rig: Any, clock: ManualClock) -> None:
        self.hub = hub
        self.rig = rig
        self.clock = clock

    async def device(self) -> tuple[Any, Device]:
        """A device double and what the directory knows of it, once it is registered."""
        double = await self.rig.device()
        await self.told(EventKind.REGISTERED, double.identity)
        return double, self.known(double)

    def known(self, double: Any) -> Device:
        device = self.hub.directory.device("acme", double.identity)
        assert device is not None
        return device

    async def told(self, kind: EventKind, device: str, n: int = 1) -> list[Event]:
        """The events of a kind about a device on the application's channel, once there are `n`."""
        channel = await self.hub.channels.open("shop/default", "acme")
        async with asyncio.timeout(PATIENCE):
            while True:
                head = channel.head
                page = await self.hub.channels.read(channel, Position(channel.epoch, 0), 10_000)
                found = [e for e in page.events if e.kind is kind and e.body["device"] == device]
                if len(found) >= n:
                    return found
                await self.hub.channels.wait(channel, head, self.clock.monotonic() + 1e9)

    async def value(self, double: Any, wanted: bytes) -> list[tuple[bytes, int | None]]:
        """The values and numbers that were notified of a device, once one of the values is `wanted`."""
        n = 1
        while True:
            told = await self.told(EventKind.NOTIFICATION, double.identity, n)
            values = [(event.body["payload"], event.body["seq"]) for event in told]
            if wanted in [payload for payload, _ in values]:
                return values
            n = len(values) + 1

    async def submit(self, double: Any, **more: Any) -> Call:
        given: dict[str, Any] = {
            "account": "acme", "application": "shop", "ref": "r", "device": double.identity, "method": "POST",
            "target": getattr(self.rig, "target", "/x"), "channel": "shop/default", "dialect": "native",
        }
        (verdict,) = (await self.hub.intake.submit(PRINCIPAL, [CallSpec(**{**given, **more})])).verdicts
        assert isinstance(verdict, Taken), verdict
        return verdict.call

    async def ended(self, call: Call) -> CallState:
        async with asyncio.timeout(PATIENCE):
            state = await self.hub.calls.wait_end(call.id, self.clock.monotonic() + 1e9)
        assert state is not None and state.outcome is not None
        return state


@pytest.fixture
async def under(request: pytest.FixtureRequest, made: Any, tmp_path: Path) -> AsyncIterator[Under]:
    """The rig's adapter in a running hub."""
    create_rig, variant = made
    rig = create_rig(tmp_path, variant=variant)
    unless_it_cannot(request, rig)
    async with running(rig, tmp_path, ManualClock()) as under:
        yield under


@asynccontextmanager
async def running(rig: Any, folder: Path, clock: ManualClock) -> AsyncIterator[Under]:
    """A hub on the folder's data."""
    hub = Hub(SqliteEngine(folder / "data", clock, SEAL), {"rig": (rig.adapter, {"account": "acme"})}, clock)

    async def declare(hub: Hub) -> None:
        await hub.directory.put(Record(Kind.ACCOUNT, "acme", "acme", {"name": "Acme"}))
        await hub.directory.put(Record(Kind.APPLICATION, "shop", "acme", {"name": "Shop", "account": "acme"}))
        if rig.key is not None:
            await hub.access.create_key("shop", frozenset({Scope.DEVICE}), secret=rig.key)

    async with hub.running(declare):
        await rig.serve(clock)
        try:
            yield Under(hub, rig, clock)
        finally:
            await rig.adapter.stop(1.0)
            await rig.unserve()


class AdapterCore:
    """Together with the core."""

    async def test_19_a_restarted_device_registers_anew_and_its_observations_are_resumed(self, under: Under) -> None:
        double, device = await under.device()
        await under.hub.observe.want("shop", device, OBSERVABLE)
        await under.value(double, b"0")  # the first one, without a number
        assert double.observed == 1

        await double.restart()
        await under.told(EventKind.REGISTERED, double.identity, 2)
        await double.until(lambda: double.observed == 1)
        await double.notify([b"after the restart"])
        await under.value(double, b"after the restart")
        await double.notify([b"the end"])

        told = await under.value(double, b"the end")
        assert [payload for payload, seq in told if seq is not None][-1] == b"the end"
        assert len([payload for payload, seq in told if seq is not None and payload == b"the end"]) == 1
        assert double.observed == 1

    async def test_20_a_device_that_stays_away_expires_once(self, under: Under) -> None:
        double, device = await under.device()
        if device.expires_at is None:
            pytest.skip("case 20: its registrations have no end")
        await under.rig.interrupt()  # returns when the adapter has noticed
        under.clock.advance(86_400)
        await asyncio.gather(under.hub.sweep.tidy(), under.hub.sweep.tidy())

        assert under.known(double).registration is Registration.EXPIRED
        assert under.known(double).presence is Presence.OFFLINE
        assert len(await under.told(EventKind.EXPIRED, double.identity)) == 1

    async def test_20_calls_go_from_the_door_to_the_device_in_order(self, under: Under) -> None:
        double, _ = await under.device()
        calls = [await under.submit(double, payload=b"%d" % n) for n in range(20)]
        states = [await under.ended(call) for call in calls]

        assert [state.outcome.payload for state in states if state.outcome] == [b"%d" % n for n in range(20)]
        assert double.executed == [call.id for call in calls]

    async def test_20_a_call_waits_for_a_sleeping_device(self, under: Under) -> None:
        double, _ = await under.device()
        await double.sleep()
        async with asyncio.timeout(PATIENCE):
            while under.known(double).presence is not Presence.ASLEEP:
                await under.hub.engine.journal.get(CallId("nobody"))  # a turn of the engine and the loop
        call = await under.submit(double, expiry=_LONG)
        assert double.executed == []

        await double.wake()

        assert (await under.ended(call)).outcome.ending is Ending.ANSWERED  # type: ignore[union-attr]

    async def test_20_a_lost_connection_leaves_a_call_unknown_and_a_late_answer_ends_it(self, under: Under) -> None:
        double, _ = await under.device()
        double.hold()
        call = await under.submit(double)
        asked = await double.asked()
        await double.drop()
        await double.reconnect()
        await asked.answer(b"at last")

        state = await under.ended(call)

        assert (state.stage, state.outcome.payload) == (Stage.DONE, b"at last")  # type: ignore[union-attr]
        assert double.executed == [call.id]
