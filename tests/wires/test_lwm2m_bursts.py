"""What a device says in one breath: all of it is told, in the order in which it came, and once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.codec import ACK, CON, EMPTY, NON, Message, Options, decode, encode
from adapters.lwm2m.double import DeviceDouble
from adapters.lwm2m.option import OBSERVE, uint
from hub.ports.adapter import EventKind, ObserveSpec
from tests.wires.lwm2m_field import Field, field

pytestmark = pytest.mark.anyio


class Told:
    """Says notifications of the device's one observation, and keeps what the hub answers to them."""

    def __init__(self, f: Field, double: DeviceDouble) -> None:
        self.f, self.double = f, double
        (self.token,) = double.observing
        self.answers: list[tuple[int, int]] = []
        self._before = double._endpoint.hear  # type: ignore[attr-defined]
        double._endpoint.hear = self._hear  # type: ignore[attr-defined]

    def _hear(self, data: bytes, peer: Any) -> None:
        message = decode(data)
        if message.code == EMPTY:
            self.answers.append((message.kind, message.mid))
        self._before(data, peer)

    def say(self, order: int, kind: int = NON) -> None:
        options = [(OBSERVE, uint(order))]
        self.double.transmit(Message(kind, codec.CONTENT, 9000 + order, self.token, options, b"%d" % order))

    def end(self, kind: int = NON) -> None:
        self.double.transmit(Message(kind, codec.NOT_FOUND, 9999, self.token))

    def values(self) -> list[bytes]:
        return [event.payload for event in self.f.ctx.of(EventKind.NOTIFICATION)]


async def observed(f: Field, **more: Any) -> Told:
    double = await f.device(**more)
    await f.adapter.observe(ObserveSpec(double.address, "/observable"), f.clock.monotonic() + 10)
    return Told(f, double)


async def test_of_confirmed_and_unconfirmed_notifications_in_one_burst_none_is_lost() -> None:
    async with field() as f:
        told = await observed(f)
        for order, kind in ((10, CON), (11, NON), (12, CON), (13, NON)):
            told.say(order, kind)
        await f.turns()

        assert sorted(told.values()) == [b"10", b"11", b"12", b"13"]
        assert told.answers == [(ACK, 9010), (ACK, 9012)]


@pytest.mark.parametrize("kind", [CON, NON])
async def test_a_confirmed_value_is_told_before_the_end_that_comes_behind_it(kind: int) -> None:
    async with field() as f:
        told = await observed(f)
        f.ctx.hold_accept()
        told.say(10, CON)
        told.end(kind)
        await f.turns()
        assert f.ctx.of(EventKind.OBSERVE_ENDED) == []
        f.ctx.release_accept()
        await f.turns()

        assert [event.kind for event in f.ctx.events][-2:] == [EventKind.NOTIFICATION, EventKind.OBSERVE_ENDED]
        assert (ACK, 9010) in told.answers
        assert told.f.adapter._parts is not None
        assert told.f.adapter._parts.registry.watched(told.token) is None


@pytest.mark.parametrize("before", [[(OBSERVE, uint(10))], []])
async def test_the_end_of_an_observation_that_was_asked_for_again_meanwhile_is_told(before: Options) -> None:
    async with field() as f:
        told = await observed(f)
        f.ctx.hold_accept()
        told.double.transmit(Message(CON, codec.CONTENT, 9010, told.token, before, b"10"))
        await f.turns()
        await f.adapter.observe(ObserveSpec(told.double.address, "/observable"), f.clock.monotonic() + 10)
        told.end()
        f.ctx.release_accept()
        await f.turns()

        assert [event.kind for event in f.ctx.events][-2:] == [EventKind.NOTIFICATION, EventKind.OBSERVE_ENDED]


async def test_an_end_from_before_it_was_asked_for_again_does_not_end_an_observation() -> None:
    async with field() as f:
        told = await observed(f)
        f.ctx.hold_accept()
        told.double.transmit(Message(CON, codec.CONTENT, 9010, told.token, [], b"the last"))
        await f.turns()
        _, again = await f.adapter.observe(ObserveSpec(told.double.address, "/observable"), f.clock.monotonic() + 10)
        f.ctx.release_accept()
        await f.turns()

        assert f.ctx.of(EventKind.OBSERVE_ENDED) == []
        assert again.active


def _end(told: Told, mid: int, how: str, kind: int = CON) -> None:
    code, payload = (codec.NOT_FOUND, b"") if how == "error" else (codec.CONTENT, b"the last")
    told.double.transmit(Message(kind, code, mid, told.token, [], payload))


@pytest.mark.parametrize("second", ["error", "last"])
@pytest.mark.parametrize(("first", "kind"), [("error", CON), ("error", NON), ("last", CON)])
async def test_of_two_ends_in_one_burst_the_one_of_the_observation_that_runs_is_told(
    first: str, kind: int, second: str
) -> None:
    async with field() as f:
        told = await observed(f)
        f.ctx.hold_accept()
        told.say(10, CON)
        _end(told, 9011, first, kind)
        await f.turns()
        _, again = await f.adapter.observe(ObserveSpec(told.double.address, "/observable"), f.clock.monotonic() + 10)
        _end(told, 9012, second)
        await f.turns()
        assert f.ctx.of(EventKind.OBSERVE_ENDED) == []
        f.ctx.release_accept()
        await f.turns()

        assert [event.kind for event in f.ctx.events][-2:] == [EventKind.NOTIFICATION, EventKind.OBSERVE_ENDED]
        assert len(f.ctx.of(EventKind.OBSERVE_ENDED)) == 1
        assert not again.active


async def test_what_the_hub_could_not_hold_comes_again_and_is_told_then() -> None:
    async with field() as f:
        told = await observed(f)
        f.ctx.fail_accept = True
        for order in (10, 11):
            told.say(order, CON)
        await f.turns()
        f.ctx.fail_accept = False
        assert (told.values(), told.answers) == ([], [])
        for order in (10, 11):
            told.say(order, CON)
        await f.turns()

        assert told.values() == [b"10", b"11"]
        assert told.answers == [(ACK, 9010), (ACK, 9011)]


async def test_an_end_that_the_hub_could_not_hold_comes_again() -> None:
    async with field() as f:
        told = await observed(f)
        last = Message(CON, codec.CONTENT, 9010, told.token, [], b"the last")
        f.ctx.fail_accept = True
        told.double.transmit(last)
        await f.turns()
        f.ctx.fail_accept = False
        told.double.transmit(last)
        await f.turns()

        assert [event.kind for event in f.ctx.events][-2:] == [EventKind.NOTIFICATION, EventKind.OBSERVE_ENDED]


async def test_an_answer_to_an_observe_that_comes_twice_is_no_notification() -> None:
    async with field() as f:
        double = await f.device()
        sent: list[bytes] = []
        send = double._endpoint.send

        def keep(data: bytes, peer: Any) -> None:
            sent.append(data)
            send(data, peer)

        double._endpoint.send = keep  # type: ignore[method-assign]
        await f.adapter.observe(ObserveSpec(double.address, "/observable"), f.clock.monotonic() + 10)
        (answer,) = sent
        await double.send_raw(answer)
        await f.turns()
        assert f.ctx.of(EventKind.NOTIFICATION) == []


async def test_a_separate_unconfirmed_answer_to_an_observe_that_comes_thrice_is_no_notification() -> None:
    async with field() as f:
        double = await f.device()
        sent: list[bytes] = []
        send, double._endpoint.send = double._endpoint.send, lambda data, peer: sent.append(data)  # type: ignore[method-assign]
        spec = ObserveSpec(double.address, "/observable")
        observing = asyncio.ensure_future(f.adapter.observe(spec, f.clock.monotonic() + 10))
        await f.turns()
        double._endpoint.send = send  # type: ignore[method-assign]
        message = decode(sent[0])
        message.kind, message.mid = NON, 777
        for _ in range(3):
            await double.send_raw(encode(message))
        await observing
        assert f.ctx.of(EventKind.NOTIFICATION) == []


@pytest.mark.parametrize(("order", "news"), [(101, [101]), (100, []), (99, [])])
async def test_the_answer_to_a_renewed_observe_counts_behind_a_notification_when_it_is_newer(
    order: int, news: list[int]
) -> None:
    async with field() as f:
        told = await observed(f)
        double, sent = told.double, list[bytes]()
        send, double._endpoint.send = double._endpoint.send, lambda data, peer: sent.append(data)  # type: ignore[method-assign]
        spec = ObserveSpec(double.address, "/observable")
        renewing = asyncio.ensure_future(f.adapter.observe(spec, f.clock.monotonic() + 10))
        await f.turns()
        double._endpoint.send = send  # type: ignore[method-assign]
        answer = decode(sent[0])
        answer.options = [(OBSERVE, uint(order))]
        told.say(100)
        for _ in range(2):
            await double.send_raw(encode(answer))
        first, _ = await renewing
        await f.turns()
        assert (first.payload, [event.seq for event in f.ctx.of(EventKind.NOTIFICATION)]) == (b"100", news)


async def test_a_device_that_woke_is_called_when_it_has_its_acknowledgement() -> None:
    async with field() as f:
        told = await observed(f, binding="UQ")
        f.clock.advance(100)
        f.ctx.hold_accept()
        before: list[list[EventKind]] = []
        end = f.adapter._endpoint
        send = end.send

        def sending(data: bytes, peer: Any) -> None:
            before.append([event.kind for event in f.ctx.events])
            send(data, peer)

        end.send = sending  # type: ignore[method-assign]
        told.say(10, CON)
        await f.turns()
        assert (f.adapter.window(told.double.address), f.ctx.of(EventKind.AWAKE)) == (0, [])
        f.ctx.release_accept()
        await f.turns()

        assert told.answers == [(ACK, 9010)]
        assert [event.kind for event in f.ctx.events] == [*before[0], EventKind.AWAKE]
        assert f.adapter.window(told.double.address) == 1
