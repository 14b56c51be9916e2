"""A callback of the Connect dialect that ends or is taken over: anew, deleted, revoked, two days of quiet."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.model.principal import Scope
from tests.clock import ManualClock
from tests.trips.front_rig import Front, running_front
from tests.trips.pelion_callback_rig import (
    CALLBACK,
    HOUR,
    completed,
    failed,
    put,
    record,
    refs,
    registered,
    taken,
    until,
)
from tests.trips.receiver import Receiver, receiving

pytestmark = pytest.mark.anyio


async def test_a_new_registration_takes_over_what_waits_at_once(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    receiver.status = 500
    await completed(front, "a")
    for times, pause in enumerate([1, 2, 4, 8], 1):
        await failed(front, times)
        front.core.clock.advance(pause)
    await failed(front, 5)
    async with receiving() as other:
        await registered(front, other)

        assert refs(await other.next()) == ["a"]
        await taken(front, 1)
        assert record(front).failing is None


async def test_deleting_loses_what_waits_and_sends_nothing_more(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    receiver.let_go.clear()
    await completed(front, "a")
    await receiver.next()
    await completed(front, "b")
    await front.ask("DELETE", CALLBACK)
    async with receiving() as other:
        # The batch under way to the first is not waited for.
        await registered(front, other)
        await completed(front, "c")

        assert refs(await other.next()) == ["c"]
    receiver.let_go.set()
    assert receiver.got.empty()


async def test_a_revoked_key_stops_its_callback_and_another_key_takes_it_over(front: Front, receiver: Receiver) -> None:
    key = await front.key(Scope.LISTEN)
    await registered(front, receiver)
    await put(front, receiver.url, key=key)
    await receiver.next()
    [made] = [known for known in front.core.hub.access.keys("shop") if known.scopes == frozenset({Scope.LISTEN})]
    await front.core.hub.access.revoke_key(made.id)
    await completed(front, "a")
    await failed(front, 1)
    assert receiver.got.empty()

    await registered(front, receiver)

    assert refs(await receiver.next()) == ["a"]


async def test_a_callback_that_hears_nothing_for_two_days_is_removed(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    front.core.clock.advance(47 * HOUR)
    await completed(front, "a")
    await taken(front, 1)
    front.core.clock.advance(48 * HOUR - 1)
    before = (await front.ask("GET", CALLBACK)).status
    front.core.clock.advance(1)

    assert (before, (await front.ask("GET", CALLBACK)).status) == (200, 404)
    front.core.clock.advance(60)
    await until(lambda: not front.pelion.channels.all())


async def test_two_quiet_days_are_counted_over_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    clock = ManualClock()
    async with running_front(tmp_path, clock) as front:
        await registered(front, receiver)
        clock.advance(HOUR)
        await completed(front, "a")
        await taken(front, 1)
        last = clock.now()
        clock.advance(660)
        await until(lambda: record(front).active == last)
        clock.advance(25 * HOUR)
        # The log itself has forgotten when its last event came.
        await front.core.hub.sweep.tidy()
    clock.advance(15 * HOUR)
    async with running_front(tmp_path, clock) as front:
        await until(lambda: front.pelion.channels.life("shop").followed is not None)
        clock.advance(8 * HOUR - 661)
        before = (await front.ask("GET", CALLBACK)).status
        clock.advance(1)
        after = (await front.ask("GET", CALLBACK)).status

    assert (before, after) == (200, 404)
