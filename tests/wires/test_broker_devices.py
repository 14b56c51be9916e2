"""Who is there, and what the hub is told of it: strangers make room, nobody waits for another's trouble, nothing that a
new device tells is lost on its way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from adapters.mqtt.broker import devices
from hub.model.device import Presence
from hub.model.errors import NotTaken, StorageFailed, UnknownDevice
from hub.ports.adapter import DeviceEvent, EventKind
from tests.contracts.context import ContextDouble
from tests.wires.broker_bench import PATIENCE, bench, until

pytestmark = pytest.mark.anyio

TELLS = {"telemetry": [{"topic": "tells/{device}/{path}"}]}


class Strict(ContextDouble):
    """A hub that has only those devices that were declared, or that registered in its account."""

    def __init__(self, *declared: str, account: str | None = "acme") -> None:
        super().__init__({} if account is None else {"account": account})
        self.account = account
        self.has = set(declared)
        self.refuses: dict[str, Exception] = {}
        self.tried: list[str] = []
        self.writing = asyncio.Event()
        self.writing.set()

    async def accept(self, event: DeviceEvent) -> None:
        self.tried.append(event.device)
        if event.device in self.refuses:
            raise self.refuses[event.device]
        if event.kind is EventKind.REGISTERED and self.account is not None:
            await self.writing.wait()
            self.has.add(event.device)
        if event.device not in self.has:
            raise UnknownDevice("there is no such device")
        await super().accept(event)


async def test_what_a_new_device_tells_right_after_its_coming_is_held() -> None:
    ctx = Strict()
    async with bench(**TELLS, ctx=ctx) as b:
        ctx.writing.clear()
        double = await b.rig.device()  # it is being registered
        double.publish(f"tells/{double.address}/a", b"first", 1)
        await double.flushed()
        await until(lambda: b.adapter.health()["waiting"] == 1 and ctx.tried.count(double.address) >= 2)
        ctx.writing.set()

        (event,) = await ctx.seen(EventKind.NOTIFICATION)
        assert event.payload == b"first"
        assert b.adapter.health()["ignored"] == 0


async def test_what_a_new_device_tells_may_overtake_its_status_and_is_held() -> None:
    ctx = Strict()
    async with bench(**TELLS, ctx=ctx) as b:
        double = b.rig.double("d-fast")
        b.adapter.links[0].pause(True)  # statuses come by this connection
        coming = asyncio.create_task(double.connect())
        await until(lambda: double.listening)
        double.publish("tells/d-fast/a", b"first", 1)
        await until(lambda: "d-fast" in ctx.tried)
        b.adapter.links[0].pause(False)
        async with asyncio.timeout(PATIENCE):
            await coming

        (event,) = await ctx.seen(EventKind.NOTIFICATION)
        assert event.payload == b"first"


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("presence", [{}, {"topic": "there/{device}"}])
async def test_telling_something_makes_no_device(qos: int, presence: dict[str, str]) -> None:
    ctx = Strict("declared")
    async with bench(**TELLS, ctx=ctx, presence=presence) as b:
        double = b.rig.double("d-any")
        await double.connect()
        double.publish("tells/nobody/a", b"1", qos)
        double.publish("tells/declared/a", b"2", qos)
        await double.flushed()
        await ctx.seen(EventKind.NOTIFICATION, "declared")
        await until(lambda: b.adapter.health()["ignored"] == 1)

        assert "nobody" not in ctx.has
        assert b.adapter.health()["devices"] == len(ctx.has)  # and nothing is kept of one that nobody has


@pytest.mark.parametrize("qos", [0, 1])
async def test_addresses_that_somebody_makes_up_shut_nobody_out(qos: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "MOST", 50)
    ctx = Strict("real", account=None)
    async with bench("template", **TELLS, ctx=ctx, presence={"topic": "there/{device}"}) as b:
        double = b.rig.double("d-junk")
        await double.connect()
        for number in range(200):
            double.publish(f"there/junk{number}", b"online", qos)
            double.publish(f"tells/other{number}/a", b"1", qos)
        await double.flushed()
        await b.adapter.links[0].caught_up()
        await b.adapter.links[1].caught_up()
        await until(lambda: b.adapter.health()["waiting"] == 0)
        double.publish("there/real", b"online", qos)
        double.publish("tells/real/a", b"precious", qos)

        (event,) = await ctx.seen(EventKind.NOTIFICATION, "real")
        assert event.payload == b"precious"
        await ctx.seen(EventKind.REGISTERED, "real")
        assert b.adapter.health()["devices"] <= 50
        # Those that the hub has make room for nobody.
        for number in range(200):
            double.publish(f"there/more{number}", b"online", qos)
        await double.flushed()
        await b.adapter.links[0].caught_up()
        assert b.adapter.health()["devices"] == 50
        assert b.adapter.presence("real") is Presence.ONLINE


@pytest.mark.parametrize("why", [NotTaken("the account is full"), StorageFailed("the disk"), RuntimeError("a bug")])
async def test_nobody_waits_for_a_device_whose_registration_fails(why: Exception) -> None:
    ctx = Strict()
    async with bench(ctx=ctx, presence={"topic": "there/{device}"}) as b:
        double = b.rig.double("d-many")
        await double.connect()
        ctx.refuses = {f"over{number}": why for number in range(100)}
        for number in range(100):
            double.publish(f"there/over{number}", b"online")
        await until(lambda: set(ctx.refuses) <= set(ctx.tried))
        await double.leave()

        await ctx.seen(EventKind.OFFLINE, "d-many")  # no time has passed


async def test_a_refused_registration_is_not_tried_again_by_itself_and_a_failed_one_ever_more_seldom() -> None:
    ctx = Strict()
    ctx.refuses = {"refused": NotTaken("the account is full"), "failed": StorageFailed("the disk is full")}
    async with bench(ctx=ctx, presence={"topic": "there/{device}"}) as b:
        double = b.rig.double("d-again")
        await double.connect()
        for name in ctx.refuses:
            double.publish(f"there/{name}", b"online", 1)
        await until(lambda: {"refused", "failed"} <= set(ctx.tried))
        at: list[int] = []
        for second in range(1, 20):
            before = ctx.tried.count("failed")
            b.clock.advance(1)
            await b.turns()
            at += [second] * (ctx.tried.count("failed") - before)
        assert (ctx.tried.count("refused"), at) == (1, [1, 3, 7, 15])

        ctx.refuses.clear()
        b.clock.advance(8)
        await ctx.seen(EventKind.REGISTERED, "failed")
        double.publish("there/refused", b"offline", 1)
        double.publish("there/refused", b"online", 1)
        await ctx.seen(EventKind.REGISTERED, "refused")


async def test_a_message_that_the_hub_fails_on_holds_up_no_other() -> None:
    ctx = Strict("x")
    async with bench("template", **TELLS, ctx=ctx, pending=4, presence={"topic": "there/{device}"}) as b:
        real = ctx.accept

        async def accept(event: DeviceEvent) -> None:
            if event.payload == b"poison":
                raise RuntimeError("a bug")
            await real(event)

        ctx.accept = accept  # type: ignore[method-assign]
        double = b.rig.double("d-poison")
        await double.connect()
        for number in range(10):
            double.publish("tells/x/a", b"poison", 1)
            double.publish("tells/x/a", b"%d" % number, 1)

        events = await ctx.seen(EventKind.NOTIFICATION, n=10)
        assert [int(event.payload) for event in events] == list(range(10))
        await until(lambda: b.adapter.health()["waiting"] == 0)
        assert not b.adapter.links[1].paused


async def test_a_status_under_the_pattern_of_answers_is_a_status() -> None:
    template = {"request": "q/{device}/{id}", "reply": "both/{device}/{id}"}
    presence = {"topic": "both/{device}/status", "required": True}
    async with bench("template", template=template, presence=presence) as b:
        double = b.rig.double("d-both")
        double.heard, double.listens = [], ["q/d-both/+"]
        await double.connect()
        assert b.adapter.presence("d-both") is Presence.ONLINE

        _, task = await b.begin("d-both")
        await double.until(lambda: bool(double.heard))
        double.publish(f"both/d-both/{double.heard[0].topic.split('/')[2]}", b"answer")
        async with asyncio.timeout(PATIENCE):
            assert (await task).payload == b"answer"


@pytest.mark.parametrize("seconds", [0, 20])
async def test_what_a_new_device_tells_waits_for_the_statuses_as_long_as_their_connection_is_away(seconds: int) -> None:
    ctx = Strict()
    async with bench(**TELLS, ctx=ctx) as b:
        statuses, intake = b.adapter.links
        statuses.cut()
        await until(lambda: statuses.resting)
        double = b.rig.double("d-patient")
        coming = asyncio.create_task(double.connect())
        await until(lambda: double.listening)
        double.publish("tells/d-patient/a", b"first", 1)
        await until(lambda: "d-patient" in ctx.tried)
        await intake.caught_up()
        # Whatever may make the attempts fail meanwhile: a clock that passes, and a connection that breaks again.
        statuses._place = replace(statuses._place, port=1)
        for _ in range(seconds):
            b.clock.advance(1)
            await b.turns()
        statuses._place = intake._place
        assert b.adapter.health()["waiting"] == 1
        await b.up()
        async with asyncio.timeout(PATIENCE):
            await coming

        (event,) = await ctx.seen(EventKind.NOTIFICATION)
        assert event.payload == b"first"


async def test_what_nobody_wants_certain_waits_only_so_long_for_statuses_that_do_not_come() -> None:
    ctx = Strict()
    async with bench(**TELLS, ctx=ctx) as b:
        double = b.rig.double("d-brief")
        b.adapter.links[0].pause(True)
        coming = asyncio.create_task(double.connect())
        await until(lambda: double.listening)
        double.publish("tells/d-brief/a", b"first")
        await until(lambda: "d-brief" in ctx.tried)
        assert b.adapter.health()["waiting"] == 1
        b.clock.advance(6)
        await until(lambda: b.adapter.health()["waiting"] == 0)
        b.adapter.links[0].pause(False)
        async with asyncio.timeout(PATIENCE):
            await coming

        assert ctx.of(EventKind.NOTIFICATION) == []


async def test_what_waits_for_statuses_when_the_hub_stops_comes_again() -> None:
    ctx = Strict()
    async with bench(**TELLS, ctx=ctx, session=600) as b:
        statuses = b.adapter.links[0]
        statuses.pause(True)
        double = b.rig.double("d-again")
        coming = asyncio.create_task(double.connect())
        await until(lambda: double.listening)
        double.publish("tells/d-again/a", b"first", 1)
        await until(lambda: "d-again" in ctx.tried)
        await b.rig.restart_hub(ctx)
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)

        (event,) = await ctx.seen(EventKind.NOTIFICATION)
        assert event.payload == b"first"
