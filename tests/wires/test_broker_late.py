"""Answers after their attempt, through a broker: none that is made up takes the place of a certain one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import pytest

from adapters.mqtt import wire
from adapters.mqtt.broker import devices, late
from adapters.mqtt.broker.adapter import create
from adapters.mqtt.broker.double import DeviceDouble
from hub.model.errors import BadRequest, NotTaken
from hub.ports.adapter import DeviceEvent, EventKind
from tests.contracts.context import ContextDouble
from tests.wires.broker_bench import PATIENCE, Bench, bench, until

pytestmark = pytest.mark.anyio


def say(b: Bench, double: DeviceDouble, call_id: str, device: str, qos: int) -> None:
    """Publish an answer to some call of some device."""
    id = wire.message_id(call_id, device, "", b.adapter.client_id)
    template = b.rig.settings.template
    if template is None:
        topic = f"hubs/{b.adapter.client_id}/replies"
        double.publish(topic, call_id.encode(), qos, correlation_data=f"{id} {device}".encode())
    else:
        double.publish(template.reply.fill(device=device), orjson.dumps({"id": id, "code": 200, "result": 1}), qos)


def calls(b: Bench) -> list[str]:
    return [event.attrs["call_id"] for event in b.ctx.of(EventKind.LATE_RESPONSE)]


async def test_answers_that_somebody_makes_up_have_none_acknowledged_that_the_hub_does_not_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(late, "MOST_LATE", 20)
    async with bench(session=600, presence={}) as b:
        double = b.rig.double("d-noisy")
        await double.connect()
        b.ctx.hold_accept()
        for number in range(40):
            say(b, double, f"made-up-{number}", f"noisy{number}", 0)
        say(b, double, "precious", "good", 1)
        await b.ctx.blocked(11)  # half of the places for names that nobody has, and it
        assert b.adapter.health()["shed"] == 30

        # The hub ends before it holds the answer: the next one gets it again.
        await b.adapter.stop(1.0)
        b.ctx.release_accept()
        assert "precious" not in calls(b)
        await b.rig.restart_hub(b.ctx)
        await until(lambda: "precious" in calls(b))


async def test_a_device_that_answers_a_lot_leaves_room_for_the_answers_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(late, "MOST_LATE", 60)
    async with bench(presence={}) as b:
        double = b.rig.double("d-many")
        await double.connect()
        b.ctx.hold_accept()
        for number in range(100):
            say(b, double, f"made-up-{number}", "noisy", 0)
        say(b, double, "wanted", "good", 0)
        await b.call_barrier(double)
        b.ctx.release_accept()

        await until(lambda: "wanted" in calls(b))
        assert len(calls(b)) == 17 and b.adapter.health()["shed"] == 84


async def test_names_that_nobody_has_leave_room_for_the_answers_of_those_that_the_hub_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(late, "MOST_LATE", 20)
    async with bench() as b:
        double = await b.rig.device()
        await b.ctx.seen(EventKind.REGISTERED)
        await b.turns()
        b.ctx.hold_accept()
        for number in range(100):
            say(b, double, f"made-up-{number}", f"nobody{number}", 0)
        say(b, double, "wanted", double.address, 0)
        await b.call_barrier(double)
        b.ctx.release_accept()

        await until(lambda: "wanted" in calls(b))
        # Places come free again.
        for number in range(10):
            say(b, double, f"later-{number}", f"nobody{number}", 0)
        await until(lambda: len(calls(b)) == 10 + 1 + 10)


# A broker of MQTT 5 takes so many messages of a device ahead of their acknowledgement.
@pytest.mark.parametrize(("speak", "number"), [("mqtt5", 20), ("template", 300)])
async def test_too_many_that_are_to_be_certain_stop_the_reading_and_all_are_told(
    speak: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "MOST_LATE", 10)
    async with bench(speak) as b:
        double = await b.rig.device()
        await b.ctx.seen(EventKind.REGISTERED)
        await b.turns()
        b.ctx.hold_accept()
        for late_one in range(number):
            say(b, double, f"late-{late_one}", double.address, 1)
        await until(lambda: b.adapter.links[0].paused)
        b.ctx.release_accept()

        await until(lambda: len(calls(b)) == number)
        await until(lambda: not b.adapter.links[0].paused)
        await b.call_barrier(double)


async def test_where_too_many_devices_are_known_an_answer_of_another_one_is_told_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "MOST", 1)
    async with bench() as b:
        double = await b.rig.device()
        await b.ctx.seen(EventKind.REGISTERED)
        await b.turns()
        say(b, double, "precious", "one-too-many", 1)

        await until(lambda: calls(b) == ["precious"])
        assert b.adapter.health()["devices"] == 1


async def test_an_answer_that_comes_again_after_a_break_is_not_acknowledged_before_it_is_held() -> None:
    async with bench(session=600) as b:
        double = await b.rig.device()
        await b.ctx.seen(EventKind.REGISTERED)
        await b.turns()
        b.ctx.hold_accept()
        say(b, double, "precious", double.address, 1)
        await b.ctx.blocked()
        b.adapter.links[0].cut()
        await until(lambda: not b.adapter.links[0].up)
        await b.up()
        await b.call_barrier(double)

        await b.adapter.stop(1.0)
        b.ctx.release_accept()
        assert calls(b) == []
        await b.rig.restart_hub(b.ctx)
        await until(lambda: calls(b) == ["precious"])


async def test_an_answer_that_is_sent_again_while_it_waits_is_acknowledged_each_time_it_was_sent() -> None:
    async with bench("template", session=600) as b:
        double = await b.rig.device()
        await b.ctx.seen(EventKind.REGISTERED)
        await b.turns()
        b.ctx.hold_accept()
        for _ in range(5):
            say(b, double, "again", double.address, 1)
        await b.ctx.blocked()
        await b.call_barrier(double)
        b.ctx.release_accept()
        await until(lambda: bool(calls(b)))
        await b.turns()
        await b.rig.restart_hub(b.ctx)
        await b.call_barrier(double)

        assert calls(b) == ["again"]


@pytest.mark.parametrize("why", [NotTaken("it is too long"), BadRequest("it is none")])
@pytest.mark.parametrize("say_it", ["late", "telemetry"])
async def test_what_the_hub_refuses_for_good_is_not_tried_again(why: Exception, say_it: str) -> None:
    tried: list[DeviceEvent] = []

    class Refusing(ContextDouble):
        async def accept(self, event: DeviceEvent) -> None:
            if event.kind in (EventKind.LATE_RESPONSE, EventKind.NOTIFICATION) and event.payload != b"fine":
                tried.append(event)
                raise why
            await super().accept(event)

    async with bench(ctx=Refusing(), session=600) as b:
        double = await b.rig.device()
        await b.ctx.seen(EventKind.REGISTERED)
        topic = f"{b.rig.space}/{double.address}/tells/a"
        refuse: Callable[[], None] = {
            "late": lambda: say(b, double, "refused", double.address, 1),
            "telemetry": lambda: double.publish(topic, b"refused", 1),
        }[say_it]
        refuse()
        await until(lambda: b.adapter.health()["ignored"] == 1)
        double.publish(topic, b"fine", 1)  # nothing waits behind it
        await b.ctx.seen(EventKind.NOTIFICATION)
        await b.rig.restart_hub(b.ctx)
        await b.call_barrier(double)

        assert len(tried) == 1  # it was acknowledged


@pytest.mark.parametrize("speak", ["template", "enos"])
async def test_hubs_that_hear_the_same_answers_leave_those_of_the_other_alone(speak: str) -> None:
    async with bench(speak, presence={}) as b:
        ctx = ContextDouble()
        other = create({**b.rig.table, "presence": {}, "client_id": f"other-{b.rig.space}"})
        await other.start(ctx)
        try:
            async with asyncio.timeout(PATIENCE):
                await other.connected()
            double = await b.rig.device()
            double.hold()
            double.qos = 1
            _, task = await b.begin(double.address)
            first = await double.asked()
            await first.answer(b"in time")
            assert (await task).payload == b"in time"
            request, task = await b.begin(double.address)
            asked = await double.asked()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await b.rig.restart_hub(b.ctx)
            await asked.answer(b"late")
            await b.ctx.seen(EventKind.LATE_RESPONSE)
            await until(lambda: other.health()["ignored"] >= 2)

            assert calls(b) == [request.call_id]
            assert ctx.of(EventKind.LATE_RESPONSE) == []
        finally:
            await other.stop(1.0)


async def test_an_answer_to_what_was_asked_before_the_hub_had_its_name_in_its_ids_ends_its_call() -> None:
    async with bench("template", presence={}) as b:
        double = await b.rig.device()
        id = wire.message_id("asked-before", double.address, "")
        template = b.rig.settings.template
        assert template is not None
        answer = orjson.dumps({"id": id, "code": 200, "result": 1})
        double.publish(template.reply.fill(device=double.address), answer, 1)
        await b.ctx.seen(EventKind.LATE_RESPONSE)

        assert calls(b) == ["asked-before"]
