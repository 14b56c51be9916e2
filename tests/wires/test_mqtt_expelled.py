"""The MQTT listener and devices that the hub does not have, or has no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.mqtt.listener import codec
from hub.ports.adapter import Delivery, EventKind
from tests.contracts.adapter_case import refused, within
from tests.wires.mqtt_bench import listening

pytestmark = pytest.mark.anyio


async def test_a_device_that_the_hub_does_not_take_is_refused_like_a_stranger(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        case.ctx.forgotten = True
        double = rig.double()

        assert await double.connect() == codec.BAD_CREDENTIALS
        await within(double.closed.wait())
        case.ctx.forgotten = False
        await double.reconnect()
        await case.barrier(double)


async def test_a_device_that_the_hub_has_no_more_is_told_so_and_sent_away(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        posting, raw = await rig.device(), await rig.device()
        case.ctx.forgotten = True

        assert (await posting.request("thing/measurepoint/post", {"measurepoints": {"t": 1}}))["code"] == 705
        await raw.event()
        await within(posting.closed.wait())
        await within(raw.closed.wait())
        assert raw.acked == [1]  # it need not tell that again


async def test_a_device_that_is_sent_away_is_gone_at_once_and_unreported_and_has_what_it_stored_when_it_returns(
    tmp_path: Path,
) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        await double.request("thing/attribute/update", {"attributes": {"a": 1}})
        _, task, _ = await case.holding(double)
        rig.adapter.send_away(double.address)
        rig.adapter.send_away(double.address)
        rig.adapter.send_away("at/nobody")

        await refused(task, "NOT_CONNECTED", Delivery.MAYBE)
        await within(double.closed.wait())
        double.go()
        await double.reconnect()
        await case.barrier(double)
        assert case.ctx.of(EventKind.OFFLINE) == []
        assert (await double.request("thing/attribute/query", {"attributes": []}))["data"] == {"a": 1}


async def test_an_expelled_device_is_gone_at_once_and_unreported(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        _, task, _ = await case.holding(double)
        rig.adapter.expel(double.address)
        rig.adapter.expel(double.address)
        rig.adapter.expel("at/nobody")

        await refused(task, "NOT_CONNECTED", Delivery.MAYBE)
        await within(double.closed.wait())
        double.go()
        await double.reconnect()
        await case.barrier(double)
        assert case.ctx.of(EventKind.OFFLINE) == []
