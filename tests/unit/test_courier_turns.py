"""Whose turn it is when places are few: no account, application or endpoint has them all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hub.core.limits import Limits
from hub.delivery.outgoing.held import FEW, MOST_HELD
from tests.unit.test_outbox_courier import Rig

pytestmark = pytest.mark.anyio

MANY = 3 * MOST_HELD
"""Rows, so many that memory does not hold them however they come into it."""


async def test_one_account_cannot_take_every_place_by_many_applications() -> None:
    rig = Rig(Limits(callbacks_at_once=4, callbacks_per_tenant=2, callbacks_per_account=3))
    rig.sent.let_go.clear()
    for id in range(20):
        rig.outbox.add(id, f"callback/shop{id}/http://a.test:80")
        rig.outbox.rows[id] = replace(rig.outbox.rows[id], channel=f"shop{id}/default")
    rig.outbox.add(100, "callback/stall/http://b.test:80")
    rig.outbox.rows[100] = replace(rig.outbox.rows[100], channel="stall/default", account="other")
    async with rig.running():
        made = [await rig.sent.made.get() for _ in range(4)]
        await rig.rest()

        assert (len([id for id in made if id < 20]), 100 in made, rig.sent.made.empty()) == (3, True, True)


async def test_endpoints_take_turns_for_a_place_that_gets_free() -> None:
    rig = Rig(Limits(callbacks_at_once=1))
    for id in range(12):
        rig.outbox.add(id, f"callback/shop/http://{'abc'[id // 4]}.test:80")
    async with rig.running():
        made = [await rig.sent.made.get() for _ in range(12)]

    assert [id // 4 for id in made] == [0, 1, 2] * 4


async def test_accounts_that_have_every_place_together_leave_another_its_first() -> None:
    rig = Rig(Limits(callbacks_at_once=32, callbacks_per_account=16, callbacks_per_tenant=16))
    hang(rig, 200, accounts=2)
    async with rig.running():
        for _ in range(32):
            await rig.sent.made.get()
        await rig.rest()
        assert rig.sent.made.empty()
        id = late(rig, 1000)
        rig.bell.ring("outbox")

        assert await rig.sent.made.get() == id


def hang(rig: Rig, rows: int, accounts: int = 1) -> None:
    """Rows of many accounts, each row to a receiver of its own; no receiver answers."""
    rig.sent.let_go.clear()
    for id in range(rows):
        account = f"a{id % accounts}"
        rig.outbox.add(id, f"callback/{account}-shop/http://h{id}.test:80")
        rig.outbox.rows[id] = replace(rig.outbox.rows[id], account=account, channel=f"{account}-shop/default")


def late(rig: Rig, id: int) -> int:
    """A row of another account, behind all the others."""
    rig.outbox.add(id, "callback/stall/http://good.test:80")
    rig.outbox.rows[id] = replace(rig.outbox.rows[id], channel="stall/default", account="other")
    return id


async def made_until(rig: Rig, wanted: int) -> int:
    """How many attempts were made until this one."""
    count = 1
    while await rig.sent.made.get() != wanted:
        count += 1
    return count


async def test_an_account_whose_receivers_all_hang_keeps_nobody_waiting_however_many_rows_it_has() -> None:
    rig = Rig()
    hang(rig, MANY)
    good = late(rig, MANY)
    async with rig.running():
        assert await made_until(rig, good) <= Limits().callbacks_per_account + 1


async def test_an_application_whose_receivers_all_hang_leaves_rows_to_its_neighbour_in_the_account() -> None:
    rig = Rig()
    hang(rig, MANY)
    good = late(rig, MANY)
    rig.outbox.rows[good] = replace(rig.outbox.rows[good], account="a0")
    async with rig.running():
        assert await made_until(rig, good) <= Limits().callbacks_per_tenant + 1


async def test_when_hanging_accounts_have_all_memory_another_still_has_a_few_rows_in_it() -> None:
    rig = Rig(Limits(callbacks_at_once=64, callbacks_per_tenant=4, callbacks_per_account=4))
    hang(rig, MOST_HELD + 1500, accounts=15)
    async with rig.running():
        for _ in range(60):
            await rig.sent.made.get()
        await rig.rest()
        for number in range(FEW):
            late(rig, 20_000 + number)
        rig.bell.ring("outbox")
        first = [await rig.sent.made.get() for _ in range(4)]
        rig.sent.let_go.set()
        for _ in range(FEW - 4):
            await made_until(rig, 20_000 + (len(first)))
            first.append(20_000 + len(first))

        assert first == [20_000 + number for number in range(FEW)]


async def test_what_was_left_on_disk_for_want_of_room_is_delivered_in_the_end() -> None:
    rig = Rig(Limits(callbacks_at_once=64))
    hang(rig, 3000, accounts=2)
    async with rig.running():
        await rig.rest()
        rig.sent.let_go.set()
        while rig.outbox.rows:
            rig.outbox.changed.clear()
            await rig.outbox.changed.wait()
