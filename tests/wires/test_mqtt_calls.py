"""Calls to devices at the MQTT listener: their answers, when those are acknowledged, and observations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hub.ports.adapter import Delivery, EventKind, NoSuchResource, ObserveSpec, TooLarge, Unsupported
from tests.contracts.adapter_case import refused, within
from tests.wires.mqtt_bench import listening

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("id", [7, None, ["a"]])
async def test_an_answer_without_its_id_as_text_answers_nothing(tmp_path: Path, id: Any) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        _, task, asked = await case.holding(double)
        await asked.say(json.dumps({"id": id, "code": 200}).encode())
        await double.settle()
        assert not task.done()

        await asked.answer(b"true")
        assert (await within(task)).payload == b"true"


async def test_an_answer_that_is_no_json_ends_the_one_call_it_can_be_for(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        _, task, asked = await case.holding(double)
        await asked.say(b"{oops")
        assert (await within(task)).status == 502

        _, first, asked_first = await case.holding(double)
        _, second, asked_second = await case.holding(double)
        await asked_first.say(b"{oops")  # which of the two was it?
        await double.settle()
        assert not first.done() and not second.done()
        await asked_first.answer(b"1")
        await asked_second.answer(b"2")
        assert [(await within(task)).payload for task in (first, second)] == [b"1", b"2"]


async def test_an_answer_is_acknowledged_once_the_hub_holds_it(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        double.qos = 1
        _, task, asked = await case.holding(double)
        await asked.answer(b"precious")
        response = await within(task)
        await double.settle()
        assert double.acked == []

        response.held()
        await double.until(lambda: double.acked == [1])
        await asked.answer(b"precious")  # its acknowledgement was lost
        await double.until(lambda: double.acked == [1, 2])
        assert case.ctx.of(EventKind.LATE_RESPONSE) == []


async def test_a_late_answer_is_acknowledged_once_the_hub_holds_it(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        double.qos = 1
        _, task, asked = await case.holding(double)
        case.clock.advance(30)
        await refused(task, "TIMEOUT", Delivery.MAYBE)
        case.ctx.hold_accept()
        await asked.answer(b"late")
        await case.ctx.blocked()
        assert double.acked == []

        case.ctx.release_accept()
        await double.until(lambda: double.acked == [1])
        await case.ctx.seen(EventKind.LATE_RESPONSE)


async def test_each_method_where_it_belongs(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()

        assert (await case.call(double, "PUT", "/measurepoint/t", payload=b"21.5")).status == 200
        assert (await case.call(double, "GET", "/measurepoint/t")).payload == b"21.5"
        assert (await case.call(double, "POST", "/service/s", payload=b'{"a":1}')).payload == b'{"a":1}'
        assert (await case.call(double, "INVOKE", "s", args={"a": 2})).payload == b'{"a":2}'
        assert [topic.partition("/thing/")[2] for topic, _ in double.commands] == [
            "service/measurepoint/set", "service/measurepoint/get", "service/s", "service/s",
        ]
        assert {body["method"] for _, body in double.commands} == {
            "thing.service.measurepoint.set", "thing.service.measurepoint.get", "thing.service.s",
        }
        for method, target, error in (("GET", "/3/0", NoSuchResource), ("DELETE", "/service/s", Unsupported)):
            with pytest.raises(error):
                case.adapter.check(case.request(double, method, target))
        with pytest.raises(TooLarge):
            case.adapter.check(case.request(double, payload=bytes(65537)))


async def test_a_point_is_observed_from_its_present_value_on(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        double.points["t"] = 1
        spec = ObserveSpec(double.address, "/measurepoint/t")
        first, older = await within(case.adapter.observe(spec, case.clock.monotonic() + 30))
        _, newer = await within(case.adapter.observe(spec, case.clock.monotonic() + 30))
        await double.request("thing/measurepoint/post", {"measurepoints": {"t": 2}})
        await newer.cancel()
        await newer.cancel()
        await double.request("thing/measurepoint/post", {"measurepoints": {"t": 3}})

        assert (first.status, first.payload, older.active, newer.active) == (200, b"1", False, False)
        told = case.ctx.of(EventKind.NOTIFICATION)
        assert [(event.payload, event.attrs["observed"]) for event in told] == [(b"2", True), (b"3", False)]


async def test_what_cannot_be_observed_is_refused(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        until = case.clock.monotonic() + 30

        missing, observation = await within(case.adapter.observe(ObserveSpec(double.address, "/measurepoint/x"), until))
        assert (missing.status, observation.active) == (404, False)
        begun, observation = await within(case.adapter.observe(ObserveSpec(double.address, "/event/e"), until))
        assert (begun.status, observation.active) == (204, True)
        with pytest.raises(Unsupported):
            await case.adapter.observe(ObserveSpec(double.address, "/service/s"), until)
