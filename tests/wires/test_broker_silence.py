"""A broker that says a lot and does not answer: what it owes the hub is waited for, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.mqtt.broker.bounded import Silent
from adapters.mqtt.broker.echo import SETTLE, Echo
from adapters.mqtt.broker.filter import Filter
from adapters.mqtt.broker.mosquitto import PROGRAM, Mosquitto
from adapters.mqtt.broker.patience import MOST, MOST_SAID_AGAIN, Patience
from adapters.mqtt.broker.rig import create_rig
from adapters.mqtt.broker.subscriptions import Subscriptions
from tests.clock import ManualClock
from tests.contracts.context import ContextDouble
from tests.require import require
from tests.wires.broker_bench import PATIENCE, bench, turns, until

pytestmark = pytest.mark.anyio


class Talk:
    """A connection on which others are heard all the time; `go_on` lets seconds go by."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.patience = Patience(self.clock)
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def before(self, wanted: Awaitable[Any], seconds: float, again: Callable[[], None] | None = None) -> Any:
        return await self.patience.answer(self.lost, wanted, seconds, again)

    async def go_on(self, seconds: int) -> None:
        await turns(3)
        for _ in range(seconds):
            self.patience.heard()
            self.clock.advance(1)
            await turns(5)


async def test_a_message_to_itself_that_the_broker_dropped_is_said_again_while_others_are_heard() -> None:
    talk = Talk()
    sent: list[bytes] = []
    echo = Echo("own", lambda topic, payload: sent.append(payload), talk.before)
    back = asyncio.ensure_future(echo.back())
    await talk.go_on(int(SETTLE) + 2)

    assert len(sent) == 2 and not back.done()
    assert echo.hear("own", sent[1])
    assert await back


async def test_nothing_is_said_again_while_nothing_is_read_on_purpose_and_no_time_is_counted() -> None:
    talk = Talk()
    sent: list[bytes] = []
    echo = Echo("own", lambda topic, payload: sent.append(payload), talk.before)
    talk.patience.pause(True)
    back = asyncio.ensure_future(echo.back())
    await turns(3)
    for _ in range(10):
        talk.clock.advance(SETTLE)
        await turns(3)
    assert len(sent) == 1
    talk.patience.pause(False)
    await talk.go_on(int(SETTLE) * (MOST_SAID_AGAIN - 1))

    assert not back.done()
    assert echo.hear("own", sent[0])
    assert await back


async def test_what_the_broker_never_answers_is_not_waited_for_for_ever_though_others_are_heard() -> None:
    talk = Talk()

    class Deaf:
        def listen(self, wanted: object) -> int:
            return 1

    listening = Subscriptions([], talk.before, 10, five=True)
    waiting = asyncio.ensure_future(listening.listen(Deaf(), [Filter("a")]))  # type: ignore[arg-type]
    await talk.go_on(10 * MOST - 1)
    assert not waiting.done()
    await talk.go_on(2)

    with pytest.raises(Silent):
        waiting.result()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that drops what the hub says to itself."""
    require(PROGRAM)
    rights = tmp_path / "rights"
    rights.write_text("topic readwrite #\nuser hub\ntopic deny hubs/deaf/#\ntopic readwrite #\n", encoding="utf-8")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    broker = Mosquitto(f"acl_file {rights}", "user root")
    broker.start()
    yield broker
    broker.close()


async def test_where_nothing_comes_back_the_hub_is_there_all_the_same_though_devices_talk(broker: Mosquitto) -> None:
    rig = create_rig(None, url=broker.url, client_id="deaf", telemetry=[])  # type: ignore[arg-type]
    rig.broker, ctx = broker, ContextDouble()
    double = rig.double()
    await rig.adapter.start(ctx)
    try:
        link = rig.adapter.links[0]
        await until(lambda: link.filters > 0 and link.writable is False)
        coming = asyncio.ensure_future(double.connect())
        await until(lambda: rig.adapter.health()["devices"] == 1)
        for _ in range(2 * MOST_SAID_AGAIN):
            ctx.clock.advance(SETTLE - 1)
            double.publish(f"{rig.space}/{double.address}/status", b"online", 1, retain=True)
            await double.flushed()
            await turns(50)
        await until(lambda: rig.adapter.health()["state"] == "up")
        await coming
    finally:
        await rig.adapter.stop(1.0)
        await rig.unserve()


async def test_a_connection_on_which_others_are_heard_is_kept_though_the_hub_does_not_hear_itself() -> None:
    async with bench(telemetry=[]) as b:
        double = await b.rig.device()
        b.adapter.links[0]._echo._send = lambda topic, payload: None
        b.clock.advance(30)
        for _ in range(2 * MOST_SAID_AGAIN):
            await b.turns()
            await b.call_barrier(double)
            b.clock.advance(SETTLE - 1)
        await b.turns()

        assert (b.adapter.health()["state"], b.adapter.health()["losses"]) == ("up", 0)


async def test_what_the_hub_said_to_itself_and_heard_late_is_nothing_that_anybody_told() -> None:
    async with bench(telemetry=[]) as b:
        double = await b.rig.device()
        before = b.adapter.health()["ignored"]
        double.publish(f"hubs/{b.adapter.client_id}/replies/echo", b"late", 1)
        await double.flushed()
        async with asyncio.timeout(PATIENCE):
            await b.call_barrier(double)

        assert b.adapter.health()["ignored"] == before
