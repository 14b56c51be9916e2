"""More to read than the disk takes: the connection comes up all the same, and nothing is told twice or forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from adapters.mqtt.broker.double import DeviceDouble
from adapters.mqtt.broker.mosquitto import PROGRAM, Mosquitto
from hub.ports.adapter import DeviceEvent, EventKind
from tests.clock import ManualClock
from tests.contracts.context import ContextDouble
from tests.require import require
from tests.wires.broker_bench import Bench, bench, until

pytestmark = pytest.mark.anyio

FULL = "max_queued_messages 0"


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    """A broker that keeps as much as comes, and that the test may kill."""
    require(PROGRAM)
    broker = Mosquitto(FULL)
    broker.start()
    yield broker
    broker.close()


def tell(b: Bench, double: DeviceDouble, messages: int) -> None:
    for number in range(messages):
        double.publish(f"{b.rig.space}/{double.address}/tells/a", b"%d" % number, 1)


def told(b: Bench) -> Counter[int]:
    return Counter(int(event.payload) for event in b.ctx.of(EventKind.NOTIFICATION))


async def test_a_connection_that_breaks_while_too_much_waits_comes_up_again_and_tells_all_once(
    broker: Mosquitto,
) -> None:
    async with bench(broker=broker, session=600, pending=10) as b:
        double = await b.rig.device(version=4)
        await b.ctx.seen(EventKind.REGISTERED)
        intake = b.adapter.links[1]
        b.ctx.hold_accept()
        tell(b, double, 40)
        await b.ctx.blocked()
        await until(lambda: intake.paused)
        intake.cut()
        await until(lambda: intake.resting)
        b.clock.advance(2)
        await until(lambda: intake.resumed and intake.paused)
        await b.turns()
        for _ in range(20):
            b.clock.advance(10)
            await b.turns()
        assert intake.trouble == "the connection broke"  # and not: the broker does not answer

        b.ctx.release_accept()
        await until(lambda: intake.up)
        await until(lambda: set(told(b)) == set(range(40)))
        await double.flushed()
        await until(lambda: b.adapter.health()["waiting"] == 0)
        # The one that was being written down when the connection broke is sent again, and no other.
        assert told(b) - Counter(range(40)) == Counter([0])


class Slow(ContextDouble):
    """Time goes by with everything that is written down: 50 s with all."""

    async def accept(self, event: DeviceEvent) -> None:
        await super().accept(event)
        if event.kind is EventKind.NOTIFICATION:
            assert isinstance(self.clock, ManualClock)
            self.clock.advance(0.05)


async def test_a_hub_that_comes_back_to_a_long_backlog_takes_its_time_to_read_it(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(broker=broker, session=600, pending=10, ctx=Slow()) as b:
        double = await b.rig.device(version=4)
        await b.ctx.seen(EventKind.REGISTERED)
        await b.adapter.stop(1.0)
        tell(b, double, 1000)
        await double.flushed()

        b.ctx.hold_accept()
        restarted = asyncio.ensure_future(b.rig.restart_hub(b.ctx))
        # Its other connection reads nothing, and would find that no time of its own goes by so fast.
        await until(lambda: bool(b.adapter.links) and b.adapter.links[0].up)
        b.ctx.release_accept()
        await restarted
        await until(lambda: len(b.ctx.of(EventKind.NOTIFICATION)) == 1000)
        assert told(b) == Counter(range(1000))
        assert "does not answer" not in caplog.text and "lets nobody hear" not in caplog.text
        assert b.adapter.links[1].up


async def test_what_was_read_from_a_broker_that_forgot_it_is_told_all_the_same(broker: Mosquitto) -> None:
    async with bench(broker=broker, session=600, pending=10) as b:
        double = await b.rig.device(version=4)
        await b.ctx.seen(EventKind.REGISTERED)
        b.ctx.hold_accept()
        tell(b, double, 10)
        await b.ctx.blocked()
        await until(lambda: b.adapter.links[1].paused)
        b.adapter.links[1].cut()
        broker.kill()  # without a word, and without a file: it remembers nothing
        await until(lambda: all(link.resting for link in b.adapter.links))
        b.ctx.release_accept()
        await until(lambda: len(told(b)) == 1)
        await b.turns()
        assert len(told(b)) == 1  # the others might come again

        broker.start()
        await b.up()
        await until(lambda: told(b) == Counter(range(10)))


async def test_a_connection_that_breaks_with_too_many_late_answers_comes_up_again(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.mqtt.broker.late.MOST_LATE", 10)
    async with bench(broker=broker, session=600) as b:
        double = await b.rig.device()
        double.hold()
        double.qos = 1
        await b.ctx.seen(EventKind.REGISTERED)
        asked = []
        for _ in range(12):
            _, task = await b.begin(double.address)
            asked.append(await double.asked())
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        b.ctx.hold_accept()
        for one in asked:
            await one.answer(b"late")
        link = b.adapter.links[0]
        await until(lambda: link.paused)
        link.cut()
        await until(lambda: link.resting)
        b.clock.advance(2)
        await until(lambda: not link.resting)
        for _ in range(20):
            b.clock.advance(10)
            await b.turns()
        b.ctx.release_accept()
        await b.up()
        await until(lambda: len(b.ctx.of(EventKind.LATE_RESPONSE)) >= 12)
        await b.call_barrier(double)
        assert len(b.ctx.of(EventKind.LATE_RESPONSE)) == 12
