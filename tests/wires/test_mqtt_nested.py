"""Messages of devices that are nested deeply, and faults of the hub's own: they cost what they are about, no more."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters.mqtt import topics, wire
from hub.ports.adapter import BadRequest, DeviceRequest, EventKind
from tests.contracts.adapter_case import within
from tests.wires.mqtt_bench import listening

pytestmark = pytest.mark.anyio

DEEP = 300  # orjson reads 1,024 levels and writes 254


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    ("levels", "taken"), [(wire.MOST_LEVELS - 1, True), (wire.MOST_LEVELS, False), (DEEP, False), (2000, False)]
)
def test_a_message_has_so_many_levels_at_most(levels: int, taken: bool) -> None:
    body = wire.object_of(b'{"id":"1","params":%b}' % nested(levels))

    assert (body is not None) is taken
    assert body is None or orjson.dumps(body)


def test_levels_are_not_counted_in_texts() -> None:
    assert wire.object_of(orjson.dumps({"id": "1", "params": {"a": "[{" * 500}})) is not None


def test_many_lists_beside_each_other_are_not_deep() -> None:
    assert wire.object_of(orjson.dumps({"id": "1", "params": [[{}]] * 1000})) is not None


@pytest.mark.parametrize(
    ("payload", "id"),
    [
        (b'{"id":"7","params":%b}' % nested(DEEP), "7"),
        (b'{"id":7,"params":%b}' % nested(DEEP), 7),
        (b'{"id":%b}' % nested(DEEP), None),
        (b'{"id":true,"params":%b}' % nested(DEEP), None),
        (nested(DEEP), None),
        (b'{"id":"7","params":{"a":NaN,"b":-Infinity}}', "7"),
        (b'{"id":7,"params":{"a":"\\ud800"}}', 7),
        (b'{"id":"\\ud800"}', None),
        (b'{"id":%d}' % 2**70, None),
        (b'{"id":"7","params":NaN' + nested(5000), None),
        (b"{oops", None),
        (b"", None),
    ],
)
def test_a_message_that_is_not_taken_may_still_say_its_id(payload: bytes, id: Any) -> None:
    assert wire.id_of(payload) == id


@pytest.mark.parametrize(
    "asked",
    [
        DeviceRequest("c", "d", "PUT", "/measurepoint/t", 0.0, payload=nested(DEEP)),
        DeviceRequest("c", "d", "POST", "/service/s", 0.0, payload=b'{"a":%b}' % nested(DEEP),
                      content_type="application/json"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_to_a_device_is_refused_at_once(asked: DeviceRequest) -> None:
    with pytest.raises(BadRequest):
        wire.command(asked)


@pytest.mark.parametrize(
    ("purpose", "params"),
    [
        ("thing/measurepoint/post", b'{"measurepoints":{"a":%b}}' % nested(DEEP)),
        ("thing/event/e/post", b'{"events":%b}' % nested(DEEP)),
        ("thing/attribute/update", b'{"attributes":{"a":%b}}' % nested(DEEP)),
        ("thing/tag/update", b'[{"tagKey":"a","tagValue":%b}]' % nested(DEEP)),
        ("thing/topo/add", nested(DEEP)),
    ],
)
async def test_a_deep_request_is_refused_and_the_next_one_is_heard(
    tmp_path: Path, purpose: str, params: bytes
) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        number = await double.publish(double.topic(purpose), b'{"id":"deep","params":%b}' % params, 1)
        await double.until(lambda: double.acked == [number])
        answer = await double.request("thing/measurepoint/post", {"measurepoints": {"a": 1}})

        told = json.loads(double.messages[0].payload)
        assert (told["id"], told["code"], answer["code"]) == ("deep", wire.NOT_JSON, wire.OK)
        assert len(case.ctx.of(EventKind.NOTIFICATION)) == 1


async def test_an_id_that_is_deep_is_not_told_again(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double, other = await rig.device(), await rig.device()
        for topic in (double.topic("thing/tag/query"), other.topic("thing/tag/query")):
            await double.publish(topic, b'{"id":%b}' % nested(DEEP), 1)
        await double.until(lambda: len(double.messages) == 2)

        assert {json.loads(message.payload)["code"] for message in double.messages} == {wire.NOT_JSON, wire.NOT_ALLOWED}
        await case.barrier(double)


@pytest.mark.parametrize("target", ["/service/s", "/measurepoint/t"])
async def test_a_deep_answer_ends_its_own_call_and_no_other(tmp_path: Path, target: str) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        double.hold()
        method = "GET" if target.startswith("/measure") else "POST"
        first, second = (case.begin(case.request(double, method, target)) for _ in range(2))
        asked = [await double.asked() for _ in range(2)]
        await asked[0].say(b'{"id":"%b","code":200,"data":{"t":%b}}' % (asked[0].body["id"].encode(), nested(DEEP)))

        response = await within(first)
        assert (response.status, response.native["error"]) == (502, "BAD_ANSWER")
        assert response.native["message_id"] == asked[0].body["id"]
        await asked[1].say(orjson.dumps({"id": asked[1].body["id"], "code": 200, "data": {"t": 1}}))
        assert (await within(second)).status == 200


async def test_a_late_deep_answer_is_an_answer(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        call, task, asked = await case.holding(double)
        task.cancel()
        await case.barrier(double)
        await asked.say(b'{"id":"%b","code":200,"data":%b}' % (asked.body["id"].encode(), nested(DEEP)))

        (event,) = await case.ctx.seen(EventKind.LATE_RESPONSE)
        assert (event.attrs["call_id"], event.attrs["response"].status) == (call.call_id, 502)
        assert event.attrs["response"].native["message_id"] == asked.body["id"]


@pytest.mark.parametrize("said", [b"no json", b"[]", b'{"code":200,"data":NaN}'])
async def test_an_answer_that_cannot_be_read_tells_the_id_of_the_one_command_that_it_is_for(
    tmp_path: Path, said: bytes
) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        _, task, asked = await case.holding(double)
        await asked.say(said)

        assert (await within(task)).native["message_id"] == asked.body["id"]


async def test_a_request_that_only_python_takes_for_json_is_answered_with_its_id(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, _):
        double = await rig.device()
        body = b'{"id":"9","params":{"measurepoints":{"t":NaN}}}'
        await double.publish(double.topic("thing/measurepoint/post"), body)
        await double.until(lambda: bool(double.messages))

        told = json.loads(double.messages[0].payload)
        assert (told["id"], told["code"]) == ("9", wire.NOT_JSON)


async def test_an_answer_that_only_python_takes_for_json_ends_its_own_call(tmp_path: Path) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        double.hold()
        first, second = (case.begin(case.request(double, "POST", "/service/s")) for _ in range(2))
        asked = [await double.asked() for _ in range(2)]
        await asked[1].say(b'{"id":"%b","code":200,"data":{"t":NaN}}' % asked[1].body["id"].encode())

        response = await within(second)
        assert (response.status, response.native["error"]) == (502, "BAD_ANSWER")
        await asked[0].answer()
        assert (await within(first)).status == 200


async def test_an_answer_that_fails_the_hub_does_not_count_as_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(tmp_path) as (rig, case):
        double = await rig.device()
        call, task, asked = await case.holding(double)
        reading = wire.response

        def failing(*_: Any) -> Any:
            raise TypeError("a bug")

        monkeypatch.setattr(wire, "response", failing)
        await asked.answer(b"1")
        await within(double.closed.wait())
        monkeypatch.setattr(wire, "response", reading)
        await within(asyncio.gather(task, return_exceptions=True))
        await double.reconnect()
        await asked.answer(b"1")

        (event,) = await case.ctx.seen(EventKind.LATE_RESPONSE)
        assert event.attrs["call_id"] == call.call_id


async def test_a_request_that_fails_the_hub_ends_the_connection_and_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(tmp_path) as (rig, case):
        double, other = await rig.device(), await rig.device()
        runs: list[str] = []

        def failing(purpose: str) -> None:
            runs.append(purpose)
            raise TypeError("a bug")

        monkeypatch.setattr(topics, "event_of", failing)
        await double.publish(double.topic("thing/event/e/post"), b'{"id":"1","params":{"events":1}}', 1)
        await double.publish(double.topic("thing/model/up_raw"), b"x", 1)
        await within(double.closed.wait())
        monkeypatch.undo()
        assert (runs, double.acked) == (["thing/event/e/post"], [])
        assert "a message could not be dealt with" in caplog.text
        await double.reconnect()
        await case.barrier(double)
        await case.barrier(other)
