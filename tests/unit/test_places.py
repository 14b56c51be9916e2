"""Places for requests under way: so many in all, a share for each tenant, and turns for those who wait."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from hub.delivery.outgoing.places import Places
from hub.model.errors import Unavailable
from tests.clock import ManualClock

pytestmark = pytest.mark.anyio


class Held:
    """Somebody who takes a place and keeps it until told."""

    def __init__(self, places: Places, tenant: str) -> None:
        self.in_place = False
        self._leave = asyncio.Event()
        self._places, self._tenant = places, tenant
        self.task = asyncio.ensure_future(self._stay())

    async def _stay(self) -> None:
        async with self._places.place(self._tenant, 10.0):
            self.in_place = True
            await self._leave.wait()
        self.in_place = False

    async def leave(self) -> None:
        self._leave.set()
        await self.task
        await rest()


async def rest() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def held(places: Places, *tenants: str) -> list[Held]:
    all_of_them = [Held(places, tenant) for tenant in tenants]
    await rest()
    return all_of_them


async def test_one_tenant_has_its_share_and_the_others_find_room() -> None:
    places = Places(4, 2, ManualClock())
    many = await held(places, *"aaaaaa", "b", "c")

    assert [one.in_place for one in many] == [True, True, False, False, False, False, True, True]
    for one in many:
        one.task.cancel()


async def test_a_place_that_gets_free_goes_to_tenants_in_turn() -> None:
    places = Places(1, 1, ManualClock())
    first, *waiting = await held(places, "x", *"aaab")
    order = []
    await first.leave()
    while any(not one.task.done() for one in waiting):
        [now] = [one for one in waiting if one.in_place]
        order.append(now._tenant)
        await now.leave()

    assert order == ["a", "b", "a", "a"]


async def test_nobody_waits_longer_than_said() -> None:
    clock = ManualClock()
    places = Places(1, 1, clock)
    first, second = await held(places, "a", "b")
    clock.advance(9.9)
    await rest()
    assert not second.task.done()
    clock.advance(0.2)

    with pytest.raises(Unavailable):
        await second.task
    await first.leave()
    [third] = await held(places, "c")
    assert third.in_place, "who has left holds nothing"
    await third.leave()


async def test_who_is_cancelled_while_waiting_holds_nothing() -> None:
    places = Places(1, 1, ManualClock())
    first, second, third = await held(places, "a", "b", "c")
    second.task.cancel()
    await rest()
    await first.leave()
    assert third.in_place
    await third.leave()


async def test_a_place_that_is_given_in_the_moment_of_a_cancellation_is_given_on() -> None:
    places = Places(1, 1, ManualClock())
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(places.place("a", 10.0))
        second, third = await held(places, "b", "c")
        await stack.aclose()
        second.task.cancel()
        await rest()
    assert (second.in_place, third.in_place) == (False, True)
    await third.leave()


async def test_tenants_that_have_everything_together_leave_another_its_first() -> None:
    places = Places(32, 16, ManualClock())
    many = await held(places, *("a" * 20), *("b" * 20), "c", "c")

    assert [one.in_place for one in many] == [*[True] * 16, *[False] * 4, *[True] * 16, *[False] * 4, True, False]
    for one in many:
        one.task.cancel()
