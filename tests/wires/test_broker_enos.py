"""EnOS devices at a plain broker: every request of theirs is answered, and their sessions are prepared again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from adapters.mqtt.broker.double import DeviceDouble
from adapters.mqtt.broker.filter import Filter
from adapters.mqtt.broker.mosquitto import PROGRAM, Mosquitto
from adapters.mqtt.broker.sessions import PAUSE, Sessions
from adapters.mqtt.broker.settings import read
from adapters.mqtt.broker.subscriptions import NotLet, Subscriptions
from hub.ports.adapter import Delivery, EventKind
from tests.clock import ManualClock
from tests.contracts.adapter_case import refused
from tests.contracts.context import ContextDouble
from tests.require import require
from tests.wires.broker_bench import PATIENCE, Bench, bench, turns, until

pytestmark = pytest.mark.anyio

POINTS = {"params": {"measurepoints": {"a": 1}}}
TAKEN: dict[str, Any] = {
    "sys/thing/measurepoint/post": POINTS, "sys/thing/measurepoint/post/batch": {"params": [POINTS["params"]]},
    "sys/thing/measurepoint/resume": POINTS, "sys/thing/measurepoint/resume/batch": {"params": [POINTS["params"]]},
    "sys/thing/event/hot/post": {"params": {"events": {}}}, "sys/thing/model/up_raw": None,
}  # fmt: skip
REFUSED = [
    *(f"sys/thing/{what}/{verb}" for what in ("attribute", "tag") for verb in ("update", "query", "delete")),
    *(f"sys/thing/topo/{verb}" for verb in ("add", "get", "delete")),
    "sys/thing/tsltemplate/get", "sys/thing/device/register",
    "ext/session/combine/login", "ext/session/combine/login/batch", "ext/session/combine/logout",
    *(f"sys/ota/device/{what}" for what in ("inform", "progress", "request", "getversion")),
]  # fmt: skip


async def test_every_request_that_the_protocol_has_for_devices_is_answered_at_once() -> None:
    async with bench("enos", presence={}) as b:
        double = b.rig.double()

        def topic(purpose: str) -> str:
            tree = "ext/session" if purpose.startswith("ext/") else "sys"
            return f"/{tree}/{double.address}/{purpose.removeprefix(f'{tree}/')}"

        purposes = {topic(purpose): body for purpose, body in (*TAKEN.items(), *((one, {}) for one in REFUSED))}
        double.heard, double.listens = [], [f"{topic}_reply" for topic in purposes]
        await double.connect()
        for name, body in purposes.items():
            double.publish(name, b"\x00" if body is None else orjson.dumps({"id": "7", **body}), 1)
        await double.until(lambda: len(double.heard or ()) == len(purposes))

        codes = {one.topic: one.payload and orjson.loads(one.payload)["code"] for one in double.heard}
        wanted = {f"{topic(one)}_reply": 1009 for one in REFUSED} | {f"{topic(one)}_reply": 200 for one in TAKEN}
        assert codes == wanted | {f"{topic('sys/thing/model/up_raw')}_reply": b""}


def test_an_enos_device_takes_sixteen_calls_at_a_time_where_nothing_is_said() -> None:
    assert (read({"speak": "enos"}).window, read({}).window) == (16, 4)
    assert read({"speak": "enos", "window": 3}).window == 3


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    """A broker that the test may kill: it remembers nothing then."""
    require(PROGRAM)
    broker = Mosquitto()
    broker.start()
    yield broker
    broker.close()


def comes(b: Bench) -> DeviceDouble:
    """A device as the vendor's: its session lasts, and it listens to no command by itself."""
    double = DeviceDouble(b.rig.settings, "pk/d", b.rig._known, clean=False, version=4)
    double.listens = ["nothing/that/matters"]
    b.rig.doubles.append(double)
    return double


async def prepared(b: Bench) -> None:
    await until(lambda: not b.adapter.prepared.missing)


SESSIONS = {"pk/d": "device-pk-d"}


async def test_a_broker_that_forgot_the_sessions_has_them_prepared_again(broker: Mosquitto) -> None:
    async with bench("enos", broker=broker, session=600, sessions=SESSIONS) as b:
        await prepared(b)
        double = comes(b)
        await double.connect()
        assert (await b.call("pk/d", "GET", target="/measurepoint/t")).status in (200, 404)

        broker.kill()
        await until(lambda: all(link.resting for link in b.adapter.links))
        broker.start()
        await b.up()
        await prepared(b)
        await double.close()
        await double.connect()

        assert (await b.call("pk/d", "GET", target="/measurepoint/t")).status in (200, 404)
        assert double.received == 2


async def test_a_break_after_which_the_broker_knows_the_hub_sends_no_device_away(broker: Mosquitto) -> None:
    async with bench("enos", broker=broker, session=600, sessions=SESSIONS) as b:
        await prepared(b)
        double = comes(b)
        await double.connect()
        for link in b.adapter.links:
            link.cut()
        await until(lambda: all(link.resting for link in b.adapter.links))
        await b.up()
        b.clock.advance(PAUSE)
        await b.turns()

        assert (await b.call("pk/d", "GET", target="/measurepoint/t")).status in (200, 404)
        assert not double.closed.is_set()


async def test_a_service_that_the_product_gets_later_is_prepared_as_well(broker: Mosquitto) -> None:
    known: dict[str, dict[str, Any]] = {"old": {}}

    class Products(ContextDouble):
        def services(self, device: str) -> dict[str, dict[str, Any]] | None:
            return known

    async with bench("enos", broker=broker, session=600, sessions=SESSIONS, ctx=Products()) as b:
        await prepared(b)
        double = comes(b)
        await double.connect()
        assert (await b.call("pk/d", "INVOKE", target="old")).status == 200
        known["new"] = {}
        b.clock.advance(PAUSE)
        async with asyncio.timeout(PATIENCE):
            await double.closed.wait()  # the hub came in its place
        await prepared(b)
        await double.connect()

        assert (await b.call("pk/d", "INVOKE", target="new")).status == 200


async def test_a_point_is_not_set_late_by_a_broker_that_keeps_even_qos_0() -> None:
    require(PROGRAM)
    keeping = Mosquitto("queue_qos0_messages true")
    keeping.start()
    try:
        async with bench("enos", broker=keeping, session=600, sessions=SESSIONS, presence={}) as b:
            await prepared(b)
            double = comes(b)
            await double.connect()
            await b.call("pk/d", "GET", target="/measurepoint/t")
            await double.close()
            value: dict[str, Any] = {"target": "/measurepoint/t", "payload": b"1", "idempotent": True}
            for left in (0.5, 1.9, 2.0):
                request = b.request("pk/d", "PUT", deadline=b.clock.monotonic() + left - 0.001, **value)
                await refused(b.adapter.call(request), "TIMEOUT", Delivery.NOT_SENT)
            await double.connect()
            await double.flushed()
            assert double.received == 1
    finally:
        keeping.close()


async def test_a_broker_that_forgets_the_sessions_while_they_are_prepared_has_them_prepared_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, sessions = ManualClock(), Sessions({"pk/a": "a", "pk/b": "b"})
    done: list[str] = []

    async def prepare(place: Any, clock: Any, client_id: str, address: str, services: Any) -> None:
        if len(done) == 1:
            sessions.met(resumed=False)
        done.append(client_id)

    async def ready() -> None:
        await turns()

    monkeypatch.setattr("adapters.mqtt.broker.sessions.prepare", prepare)
    running = asyncio.ensure_future(sessions.run(None, clock, ready, lambda address: None))  # type: ignore[arg-type]
    await turns(20)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert (done, sessions.missing) == (["a", "b", "a", "b"], set())


async def test_a_post_that_the_broker_will_send_again_is_answered_once_and_only_when_it_is_held() -> None:
    async with bench("enos", session=600, presence={}) as b:
        double = b.rig.double()
        topic = f"/sys/{double.address}/thing/measurepoint/post"
        double.heard, double.listens = [], [f"{topic}_reply"]
        await double.connect()
        b.ctx.fail_accept = True
        double.publish(topic, orjson.dumps({"id": "7", **POINTS}), 1)
        await b.ctx.failed(1)
        intake = b.adapter.links[1]
        intake.cut()
        await until(lambda: intake.resting)
        await b.up()
        await b.ctx.failed(2)
        for _ in range(5):
            b.clock.advance(1)
            await b.turns()
        await double.flushed()
        assert double.heard == []

        b.ctx.fail_accept = False
        b.clock.advance(1)
        await double.until(lambda: len(double.heard or ()) == 1)
        await double.flushed()
        assert len(double.heard) == len(b.ctx.of(EventKind.NOTIFICATION)) == 1


async def test_where_the_broker_refuses_what_the_hub_would_only_refuse_everything_else_is_heard(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listening = Subscriptions([], answered, 10, five=True)

    class Strict:
        def listen(self, wanted: Any) -> int:
            answers = tuple(135 if "ota" in topic else 1 for topic, _, _ in wanted)
            asyncio.get_running_loop().call_soon(listening.answered, 1, answers)
            return 1

    client: Any = Strict()
    async with bench("enos") as b:
        filters = b.adapter.links[1]._listening.filters
    await listening.listen(client, filters)
    assert "/sys/+/+/ota/device/inform" in caplog.text

    with pytest.raises(NotLet, match="ota"):
        await listening.listen(client, [Filter("ota/needed")])


async def answered(wanted: Any, seconds: float, again: object = None) -> Any:
    return await wanted
