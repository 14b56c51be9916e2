"""Calls through a broker: what goes out, what counts as an answer, and what nobody shall get late."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from adapters.mqtt import wire
from adapters.mqtt.broker.client import Message
from adapters.mqtt.broker.filter import Filter
from adapters.mqtt.broker.mosquitto import Mosquitto
from hub.ports.adapter import CallError, Delivery, EventKind
from tests.contracts.adapter_case import refused
from tests.contracts.context import ContextDouble
from tests.require import require
from tests.wires.broker_bench import PATIENCE, Bench, bench, until

pytestmark = pytest.mark.anyio


async def break_off(b: Bench) -> None:
    """The connection for calls and answers breaks, and is made again."""
    b.adapter.links[0].cut()
    await until(lambda: not b.adapter.links[0].up)
    await b.up()


@pytest.mark.parametrize("speak", ["mqtt5", "template"])
async def test_each_method_reaches_the_device_by_its_name(speak: str) -> None:
    async with bench(speak) as b:
        double = await b.rig.device()
        for method in sorted(b.adapter.capabilities.methods):
            assert (await b.call(double.address, method, target="/3/0")).status == 200
            asked = double.requests[-1]
            said = asked.said("method") if speak == "mqtt5" else orjson.loads(asked.payload)["method"]
            target = asked.said("target") if speak == "mqtt5" else orjson.loads(asked.payload)["target"]
            assert (said, target) == (method, "/3/0")


async def test_enos_points_and_services_have_their_own_topics() -> None:
    async with bench("enos") as b:
        double = await b.rig.device()
        for method, target, topic in (
            ("INVOKE", "add", "add"), ("POST", "/service/y", "y"), ("GET", "/measurepoint/t", "measurepoint/get"),
            ("PUT", "/measurepoint/t", "measurepoint/set"),
        ):  # fmt: skip
            await b.call(double.address, method, target=target, payload=b"1" if method == "PUT" else b"")
            assert double.requests[-1].topic == f"/sys/{double.address}/thing/service/{topic}"


async def test_a_request_of_mqtt_5_says_where_its_answer_goes_and_when_it_is_too_late() -> None:
    async with bench() as b:
        double = await b.rig.device()
        request = b.request(double.address, payload=b"x", content_type="text/plain", accept="application/cbor",
                            query=(("a", "1"), ("b", "")), deadline=b.clock.monotonic() + 9.7)  # fmt: skip
        await b.adapter.call(request)

        asked = double.requests[-1]
        assert asked.one("response_topic") == f"hubs/{b.adapter.client_id}/replies"
        assert bytes(asked.one("correlation_data")).startswith(request.call_id.encode())
        assert asked.one("message_expiry_interval") == 8
        assert (asked.qos, asked.one("content_type")) == (0, "text/plain")
        assert (asked.said("accept"), asked.said("query")) == ("application/cbor", "a=1&b")


@pytest.mark.parametrize("speak", ["mqtt5", "template", "enos"])
async def test_a_retained_answer_is_none(speak: str) -> None:
    async with bench(speak) as b:
        double = await b.rig.device()
        double.hold()
        _, task = await b.begin(double.address)
        asked = await double.asked()
        id, topic = asked.id, asked.message.topic + "_reply"
        if speak == "mqtt5":
            topic = asked.message.one("response_topic")
            double.publish(topic, b"x", retain=True, correlation_data=f"{id} {double.address}".encode())
        elif speak == "template":
            assert b.rig.settings.template is not None
            topic = b.rig.settings.template.reply.fill(device=double.address)
            double.publish(topic, orjson.dumps({"id": id, "code": 200, "result": 1}), retain=True)
        else:
            double.publish(topic, wire.answer(id, 200), retain=True)
        # Who listens when it is published gets it as any other; it is retained for those who come later.
        assert (await task).status == 200
        await b.rig.restart_hub(b.ctx)
        await double.flushed()
        await b.call_barrier(double)

        assert b.ctx.of(EventKind.LATE_RESPONSE) == []
        double.publish(topic, b"", retain=True)
        await double.flushed()


async def test_an_answer_to_another_hub_is_not_heard() -> None:
    async with bench() as one, bench() as other:
        double = await one.rig.device()
        double.hold()
        _, task = await one.begin(double.address)
        asked = await double.asked()
        correlation = f"{asked.id} {double.address}".encode()
        double.publish(f"hubs/{other.adapter.client_id}/replies", b"x", correlation_data=correlation)
        await double.flushed()
        assert not task.done()

        await asked.answer(b"true")
        assert (await task).payload == b"true"


async def test_an_answer_with_qos_1_is_acknowledged_once_it_is_held() -> None:
    async with bench(session=600) as b:
        double = await b.rig.device()
        double.qos = 1
        double.hold()
        request, task = await b.begin(double.address)
        await (await double.asked()).answer(b"precious")
        response = await task
        assert response.held is not None
        # The hub ends before it holds the answer: the next one gets it again.
        await b.rig.restart_hub(b.ctx)
        (late,) = await b.ctx.seen(EventKind.LATE_RESPONSE)
        assert (late.attrs["call_id"], late.attrs["response"].payload) == (request.call_id, b"precious")

        await double.flushed()
        await b.call_barrier(double)
        await b.rig.restart_hub(b.ctx)
        await b.call_barrier(double)
        assert len(b.ctx.of(EventKind.LATE_RESPONSE)) == 1


@pytest.mark.parametrize("speak", ["mqtt5", "template"])
async def test_an_answer_that_comes_again_after_a_break_is_not_acknowledged_while_the_hub_writes_its_end(
    speak: str,
) -> None:
    async with bench(speak, session=600) as b:
        double = await b.rig.device()
        double.qos = 1
        double.hold()
        request, task = await b.begin(double.address)
        await (await double.asked()).answer(b"1")
        response = await task
        await break_off(b)  # the hub writes meanwhile, and the broker sends the answer again
        await b.call_barrier(double)

        # The hub ends before it holds the answer: the next one gets it again.
        await b.rig.restart_hub(b.ctx)
        (late,) = await b.ctx.seen(EventKind.LATE_RESPONSE)
        assert (late.attrs["call_id"], late.attrs["response"].payload) == (request.call_id, response.payload)


@pytest.mark.parametrize("speak", ["mqtt5", "template"])
async def test_an_answer_that_came_again_after_a_break_is_acknowledged_where_it_came_last(speak: str) -> None:
    async with bench(speak, session=600) as b:
        double = await b.rig.device()
        double.qos = 1
        double.hold()
        _, task = await b.begin(double.address)
        await (await double.asked()).answer(b"1")
        response = await task
        await break_off(b)
        await b.call_barrier(double)
        assert response.held is not None
        response.held()
        await b.call_barrier(double)

        await b.rig.restart_hub(b.ctx)
        await b.call_barrier(double)
        assert b.ctx.of(EventKind.LATE_RESPONSE) == []


async def test_an_answer_whose_caller_left_in_the_same_moment_is_acknowledged_once_the_hub_wants_it_no_more() -> None:
    async with bench(session=600) as b:
        double = await b.rig.device()
        double.qos = 1
        double.hold()
        request, task = await b.begin(double.address)
        asked = await double.asked()
        b.ctx.hold_accept()
        take = b.adapter._calls.hear  # type: ignore[union-attr]

        def leave(message: Message) -> bool:
            taken = take(message)
            task.cancel()
            return taken

        b.adapter._calls.hear = leave  # type: ignore[union-attr, method-assign]
        await asked.answer(b"precious")
        await b.ctx.blocked()
        assert task.cancelled()

        await b.rig.restart_hub(b.ctx)
        b.ctx.release_accept()
        await b.ctx.seen(EventKind.LATE_RESPONSE)
        await b.call_barrier(double)
        await b.rig.restart_hub(b.ctx)
        await b.call_barrier(double)
        assert [event.attrs["call_id"] for event in b.ctx.of(EventKind.LATE_RESPONSE)] == [request.call_id]


@pytest.mark.parametrize(
    ("speak", "answers"),
    [
        ("template", {b"no json": 502, b'{"id":"ID","code":"x"}': 502, b'{"id":"ID","code":404}': 404,
                      b'{"id":"ID","code":0,"result":{"a":1}}': 200}),
        ("enos", {b'{"id":"ID","code":2001,"message":"will not"}': 500, b'{"id":"ID"}': 502,
                  b'{"id":"ID","code":"0","data":null}': 200}),
    ],
)  # fmt: skip
async def test_what_a_device_answers_is_told_as_it_is(speak: str, answers: dict[bytes, int]) -> None:
    async with bench(speak) as b:
        double = await b.rig.device()
        double.hold()
        for body, status in answers.items():
            _, task = await b.begin(double.address)
            asked = await double.asked()
            topic = asked.message.topic + "_reply"
            if b.rig.settings.template is not None:
                topic = b.rig.settings.template.reply.fill(device=double.address)
            double.publish(topic, body.replace(b"ID", asked.id.encode()))
            await double.flushed()
            if b"ID" not in body:
                # An answer that names no call could be anybody's.
                assert not task.done()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            else:
                assert (await task).status == status


async def test_ids_may_stand_in_the_topic_and_payloads_go_as_they_are() -> None:
    template = {"request": "raw/{device}/ask/{method}/{id}/{target...}", "reply": "raw/{device}/said/{id}"}
    async with bench("template", template=template, presence={}) as b:
        double = b.rig.double("d-raw")
        double.heard, double.listens = [], ["raw/d-raw/ask/#"]
        await double.connect()
        request, task = await b.begin("d-raw", method="PUT", target="/3/0", payload=bytes(range(256)))
        await double.until(lambda: bool(double.heard))
        topic, payload = double.heard[0].topic, double.heard[0].payload
        id = topic.split("/")[4]
        assert (topic, payload) == (f"raw/d-raw/ask/PUT/{id}/3/0", bytes(range(256)))
        double.publish(f"raw/somebody-else/said/{id}", b"forged")
        double.publish(f"raw/d-raw/said/{id}", b"\x00\xff")

        assert (await task).payload == b"\x00\xff"
        assert id.startswith(request.call_id)


async def test_with_mqtt_3_the_answers_of_a_service_are_listened_to_from_its_first_call_on() -> None:
    async with bench("enos", version=4) as b:
        double = await b.rig.device()
        assert not b.adapter.links[0].hears("/sys/+/+/thing/service/add_reply")
        both = [b.begin(double.address, method="INVOKE", target="add") for _ in range(2)]
        tasks = [(await one)[1] for one in both]
        async with asyncio.timeout(PATIENCE):
            assert [response.status for response in await asyncio.gather(*tasks)] == [200, 200]
        assert b.adapter.links[0].hears("/sys/+/+/thing/service/add_reply")
        assert len(double.executed) == 2


async def test_the_hub_does_not_hear_its_own_commands() -> None:
    async with bench("enos") as b:
        double = await b.rig.device()
        before = b.adapter.health()["ignored"]
        for _ in range(5):
            await b.call(double.address)

        assert b.adapter.health()["ignored"] == before


async def test_a_topic_that_cannot_be_joined_leaves_the_call_unsent() -> None:
    async with bench("enos", version=4) as b:
        double = await b.rig.device()
        b.adapter.links[0].cut()
        with pytest.raises(CallError) as caught:
            await b.adapter.links[0].join(Filter("/sys/+/+/thing/service/y_reply"))
        assert caught.value.delivery is Delivery.NOT_SENT
        assert double.received == 0


@pytest.mark.parametrize("brokers", [1, 2])
async def test_two_adapters_serve_their_own_devices_at_one_broker_or_two(brokers: int) -> None:
    require("mosquitto")
    further = Mosquitto()
    further.start()
    async with bench() as one, bench("template", broker=further if brokers == 2 else None) as other:
        first, second = await one.rig.device(), await other.rig.device()
        assert (await one.call(first.address, payload=b"1")).payload == b"1"
        assert (await other.call(second.address, payload=b"2")).payload == b"2"
        assert isinstance(one.ctx, ContextDouble)
        assert {event.device for event in one.ctx.of(EventKind.REGISTERED)} == {first.address}
    further.close()


async def test_a_device_that_the_hub_has_only_now_is_told_of_at_its_first_answer() -> None:
    async with bench() as b:
        b.ctx.forgotten = True
        double = await b.rig.device()
        await b.turns()
        assert b.ctx.of(EventKind.REGISTERED) == []

        b.ctx.forgotten = False
        await b.call(double.address)
        await b.ctx.seen(EventKind.REGISTERED, double.address)
        b.adapter.expel(double.address)
        await b.call(double.address)
        await b.ctx.seen(EventKind.REGISTERED, double.address, 2)


@pytest.mark.parametrize("speak", ["mqtt5", "template", "enos"])
async def test_an_answer_that_is_too_large_ends_its_call_at_once(speak: str) -> None:
    async with bench(speak, max_message=2000) as b:
        double = await b.rig.device()
        double.hold()
        _, task = await b.begin(double.address)
        await (await double.asked()).answer(bytes(2001))

        async with asyncio.timeout(PATIENCE):
            response = await task
        assert (response.status, response.payload, response.native["error"]) == (502, b"", "ANSWER_TOO_LARGE")


@pytest.mark.parametrize("qos", [0, 1])
async def test_an_answer_right_behind_a_goodbye_is_late_and_not_lost(qos: int) -> None:
    async with bench() as b:
        double = await b.rig.device()
        double.qos = qos
        double.hold()
        request, task = await b.begin(double.address)
        asked = await double.asked()
        # Both reach the hub in one piece: it does not come to the call between them.
        b.adapter.links[0].pause(True)
        assert b.rig.settings.presence.topic is not None
        double.publish(b.rig.settings.presence.topic.fill(device=double.address), b"offline", 1, retain=True)
        await asked.answer(b"done after all")
        b.adapter.links[0].pause(False)

        await refused(task, "NOT_CONNECTED", Delivery.MAYBE)
        (late,) = await b.ctx.seen(EventKind.LATE_RESPONSE)
        assert (late.attrs["call_id"], late.attrs["response"].payload) == (request.call_id, b"done after all")


@pytest.mark.parametrize("speak", ["mqtt5", "template"])
async def test_a_request_says_until_when_it_may_be_carried_out(speak: str) -> None:
    body = {"id": "{id}", "until": "{deadline}"}
    template = {"request": "due/{device}/{deadline}", "reply": "due/{device}", "id": "id", "body": body}
    more = {"template": template, "presence": {}} if speak == "template" else {}
    async with bench(speak, **more) as b:
        double = b.rig.double("d-due")
        double.heard, double.listens = [], ["due/d-due/+"] if speak == "template" else []
        await double.connect()
        due = int(b.clock.now().timestamp() * 1000) + 12_500
        _, task = await b.begin("d-due", deadline=b.clock.monotonic() + 12.5)
        await double.until(lambda: bool(double.heard))

        (asked,) = double.heard
        if speak == "mqtt5":
            assert asked.said("deadline") == str(due)
        else:
            assert (asked.topic, orjson.loads(asked.payload)["until"]) == (f"due/d-due/{due}", due)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
