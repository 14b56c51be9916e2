"""The layer rules: what is repeated, what stops it, whose answer counts, what is told twice and what is reset."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.codec import ACK, CON, EMPTY, GET, NON, RST, Message, decode, encode
from adapters.lwm2m.exchange import Exchanges, Owner, Reset, Unanswered
from adapters.lwm2m.generations import Generations
from adapters.lwm2m.observe import is_newer
from adapters.lwm2m.option import OBSERVE, URI_PATH
from adapters.lwm2m.throttle import MOST_NAMES, Throttle
from hub.ports.adapter import CallError, Delivery
from tests.clock import ManualClock
from tests.wires.lwm2m_field import Wire, field

pytestmark = pytest.mark.anyio

PEER = ("192.0.2.7", 5683)
OTHER = ("192.0.2.8", 5683)


class Line:
    """Exchanges with their way out: `sent` keeps (time, datagram)."""

    def __init__(self, jitter: float = 0.0) -> None:
        self.clock = ManualClock()
        self.sent: list[tuple[float, bytes]] = []
        self.begun = self.clock.monotonic()
        self.exchanges = Exchanges(self.clock, self._send, lambda: jitter)

    def _send(self, data: bytes, peer: Any) -> None:
        assert peer == PEER
        self.sent.append((self.clock.monotonic() - self.begun, data))

    async def ask(self, deadline: float = 3600.0, token: bytes = b"tok-tok!") -> asyncio.Task[Message]:
        message = Message(CON, GET, 7, token, [(URI_PATH, b"3")])
        asked = self.exchanges.ask(message, PEER, self.begun + deadline, Owner("dev", "call-1"))
        task = asyncio.ensure_future(asked)
        await asyncio.sleep(0)
        return task

    def hear(self, kind: int, code: int, mid: int = 7, token: bytes = b"tok-tok!", peer: Any = PEER) -> bool:
        return self.exchanges.heard(Message(kind, code, mid, token if code else b""), peer)


async def failed(task: asyncio.Task[Message]) -> CallError:
    with pytest.raises(CallError) as caught:
        await task
    return caught.value


async def test_a_request_is_repeated_four_times_at_doubling_pauses_and_given_up() -> None:
    line = Line()
    task = await line.ask()
    line.clock.advance(200)

    assert [round(at, 3) for at, _ in line.sent] == [0, 2, 6, 14, 30]
    assert len({data for _, data in line.sent}) == 1
    error = await failed(task)
    assert isinstance(error, Unanswered)
    assert (error.delivery, error.asked) == (Delivery.MAYBE, line.begun)
    assert len(line.exchanges) == 0


async def test_nothing_is_repeated_past_the_deadline() -> None:
    line = Line(jitter=1.0)
    task = await line.ask(deadline=10)
    line.clock.advance(9.999)
    assert not task.done()
    line.clock.advance(100)

    assert [at for at, _ in line.sent] == [0, 3, 9]
    await failed(task)


@pytest.mark.parametrize("kind", [ACK, NON, CON])
async def test_an_answer_of_any_kind_with_the_token_ends_it(kind: int) -> None:
    line = Line()
    task = await line.ask()
    assert line.hear(kind, codec.CONTENT, mid=7 if kind == ACK else 99)
    line.clock.advance(200)

    assert (await task).code == codec.CONTENT
    assert len(line.sent) == 1


async def test_an_empty_acknowledgement_stops_the_repeats_and_the_answer_comes_later() -> None:
    line = Line()
    task = await line.ask(deadline=60)
    assert line.hear(ACK, EMPTY)
    line.clock.advance(59)
    assert not task.done()
    assert line.hear(CON, codec.CONTENT, mid=50)

    assert (await task).mid == 50
    assert len(line.sent) == 1


async def test_what_was_acknowledged_and_never_answered_was_delivered() -> None:
    line = Line()
    task = await line.ask(deadline=60)
    line.hear(ACK, EMPTY)
    line.clock.advance(60)

    assert (await failed(task)).delivery is Delivery.DELIVERED


@pytest.mark.parametrize(("repeated", "delivery"), [(False, Delivery.NOT_SENT), (True, Delivery.MAYBE)])
async def test_a_reset_ends_it_and_says_whether_it_may_have_happened(repeated: bool, delivery: Delivery) -> None:
    line = Line()
    task = await line.ask()
    if repeated:
        line.clock.advance(2.5)
    line.hear(RST, EMPTY)

    error = await failed(task)
    assert (type(error), error.code, error.status, error.delivery) == (Reset, "RESET", 502, delivery)


async def test_an_answer_from_elsewhere_or_with_another_token_is_not_the_answer() -> None:
    line = Line()
    task = await line.ask()
    assert not line.hear(ACK, codec.CONTENT, peer=OTHER)
    assert not line.hear(ACK, codec.CONTENT, token=b"tok-tok?")
    assert not line.hear(ACK, EMPTY, peer=OTHER)
    assert not line.hear(RST, EMPTY, mid=8)
    assert not task.done()
    line.hear(ACK, codec.CONTENT)
    await task


async def test_an_answer_after_the_end_is_told_once_with_its_owner() -> None:
    line = Line()
    task = await line.ask(deadline=5)
    line.clock.advance(5)
    await failed(task)
    late = Message(CON, codec.CHANGED, 60, b"tok-tok!")

    assert line.exchanges.late(late, OTHER) is None
    assert line.exchanges.late(late, PEER) == Owner("dev", "call-1")
    assert line.exchanges.late(late, PEER) is None


async def test_a_cancelled_request_is_not_repeated() -> None:
    line = Line()
    task = await line.ask()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    line.clock.advance(200)

    assert len(line.sent) == 1
    assert line.clock.pending == 0


def test_what_is_remembered_is_bounded_in_number_and_age() -> None:
    table: Generations[int, int] = Generations(247, 100)
    for n in range(1000):
        table.put(n, n, 0.0)
    assert len(table) <= 200
    assert table.get(999) == 999

    table = Generations(247, 100)
    table.put(1, 1, 1000)
    table.put(2, 2, 1246)
    assert table.get(1) == 1
    table.put(3, 3, 1248)
    assert table.get(1) == 1
    table.put(4, 4, 1500)
    assert table.get(1) is None


@pytest.mark.parametrize(
    ("last", "number", "after", "newer"),
    [
        (1, 2, 0, True), (2, 1, 0, False), (5, 5, 0, False), (0xFFFFFF, 0, 0, True), (0, 0xFFFFFF, 0, False),
        (9, 3, 129, True),
    ],
)
def test_freshness_runs_around_and_ends_after_128_seconds(last: int, number: int, after: float, newer: bool) -> None:
    assert is_newer(last, 1000.0, number, 1000.0 + after) is newer


def test_one_name_that_registers_too_often_is_refused_for_a_minute() -> None:
    throttle = Throttle(500, 5000)
    assert [throttle.wait("dev", 1000 + n * 0.1) for n in range(10)] == [0] * 10
    assert throttle.wait("dev", 1001.0) == 60
    assert throttle.wait("dev", 1031.0) == 30
    assert throttle.wait("other", 1031.0) == 0
    assert throttle.wait("dev", 1062.0) == 0


def test_a_flood_of_names_is_let_in_at_the_rate_and_bounded_in_memory() -> None:
    throttle = Throttle(100, 200)
    let_in = sum(throttle.wait(f"n{n}", 1000 + n / 10_000) == 0 for n in range(10_000))
    assert 290 <= let_in <= 302
    assert len(throttle._names) <= MOST_NAMES


# -- what devices say unasked ---------------------------------------------------------------------


async def test_a_ping_is_answered_with_rst() -> None:
    async with field() as f:
        wire = Wire(f)
        wire.say(encode(Message(CON, EMPTY, 77)))
        answer = await wire.next()
        assert (answer.kind, answer.code, answer.mid) == (RST, EMPTY, 77)


async def test_an_unknown_answer_is_reset_only_if_it_waits_for_an_acknowledgement() -> None:
    async with field() as f:
        wire = Wire(f)
        wire.say(encode(Message(NON, codec.CONTENT, 1, b"unknown1", [], b"x")))
        wire.say(encode(Message(ACK, codec.CONTENT, 2, b"unknown2", [], b"x")))
        wire.say(encode(Message(CON, codec.CONTENT, 3, b"unknown3", [], b"x")))
        assert (await wire.next()).mid == 3
        assert [(m.kind, m.mid) for m in wire.heard] == [(RST, 3)]


async def test_a_late_notification_of_nobody_is_reset_even_unconfirmed() -> None:
    async with field() as f:
        wire = Wire(f)
        wire.say(encode(Message(NON, codec.CONTENT, 5, b"gone", [(OBSERVE, b"\x05")], b"x")))
        assert ((await wire.next()).kind, wire.heard[0].mid) == (RST, 5)


async def test_a_separate_answer_is_acknowledged_again_even_when_its_call_is_gone() -> None:
    async with field() as f:
        double = await f.device()
        double.hold()
        call = asyncio.ensure_future(f.adapter.call(f.request(double)))
        asked = await double.asked()
        acks: list[Message] = []
        heard = double._heard
        double._endpoint.hear = lambda data, peer: (acks.append(decode(data)), heard(data, peer))  # type: ignore[attr-defined]
        answer = Message(CON, codec.CHANGED, 900, asked.message.token, [], b"done")
        double.transmit(answer)
        assert (await call).payload == b"done"
        double.transmit(answer)
        await f.turns()

        assert [(m.kind, m.code, m.mid) for m in acks] == [(ACK, EMPTY, 900)] * 2
        assert [event.kind.value for event in f.ctx.events if event.kind.value == "late_response"] == []


async def test_a_request_that_comes_twice_is_served_once_and_answered_twice() -> None:
    async with field() as f:
        wire = Wire(f)
        data = encode(Message(CON, codec.POST, 9, b"t", [(URI_PATH, b"rd"), (15, b"ep=twice")], b"</1/0>"))
        wire.say(data)
        wire.say(data)
        first = await wire.next()
        wire.say(data)
        second = await wire.next(2)

        assert first == second
        assert first.code == codec.CREATED
        assert len(f.ctx.events) == 1


async def test_an_unconfirmed_request_gets_an_unconfirmed_answer() -> None:
    async with field() as f:
        wire = Wire(f)
        wire.say(encode(Message(NON, GET, 9, b"t", [(URI_PATH, b"nowhere")])))
        answer = await wire.next()
        assert (answer.kind, answer.code, answer.token) == (NON, codec.NOT_FOUND, b"t")


@pytest.mark.parametrize(
    ("code", "options", "expected"),
    [
        (GET, [(9, b"x"), (URI_PATH, b"rd")], codec.BAD_OPTION),
        (GET, [(10, b"x"), (URI_PATH, b"nowhere")], codec.NOT_FOUND),
        (GET, [(35, b"coap://x")], codec.PROXYING_NOT_SUPPORTED),
        (GET, [(URI_PATH, b"rd")], codec.METHOD_NOT_ALLOWED),
        (codec.POST, [(URI_PATH, b"bs"), (15, b"ep=x")], codec.NOT_FOUND),
        (0x1F, [(URI_PATH, b"rd")], codec.METHOD_NOT_ALLOWED),
        (codec.POST, [(URI_PATH, b"rd"), (27, b"\x07")], codec.BAD_OPTION),
    ],
)
async def test_what_the_hub_does_not_serve_is_refused_in_the_right_words(
    code: int, options: list[tuple[int, bytes]], expected: int
) -> None:
    async with field() as f:
        wire = Wire(f)
        wire.say(encode(Message(CON, code, 9, b"t", options)))
        assert (await wire.next()).code == expected


async def test_a_malformed_message_that_waits_is_reset_and_any_other_ignored() -> None:
    async with field() as f:
        wire = Wire(f)
        wire.say(b"\x50\x01\x00\x05\xff")
        wire.say(b"\x40\x01\x00\x06\xff")
        assert ((await wire.next()).kind, wire.heard[0].mid) == (RST, 6)
        assert f.adapter.health()["malformed"] == 2
