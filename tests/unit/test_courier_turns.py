"""Whose turn it is when places are few: no account, application or endpoint has them all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hub.core.limits import Limits
from tests.unit.test_outbox_courier import Rig

pytestmark = pytest.mark.anyio


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

        assert (len([id for id in made if id < 20]), made[-1], rig.sent.made.empty()) == (3, 100, True)


async def test_endpoints_take_turns_for_a_place_that_gets_free() -> None:
    rig = Rig(Limits(callbacks_at_once=1))
    for id in range(12):
        rig.outbox.add(id, f"callback/shop/http://{'abc'[id // 4]}.test:80")
    async with rig.running():
        made = [await rig.sent.made.get() for _ in range(12)]

    assert [id // 4 for id in made] == [0, 1, 2] * 4
