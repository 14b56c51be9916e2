"""Devices behind a real broker with the real core above: breaks under load, absence past a deadline, restarts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.mqtt.broker.double import DeviceDouble
from adapters.mqtt.broker.mosquitto import PROGRAM, Mosquitto
from hub.model.device import Presence, Registration
from hub.model.event import EventKind
from hub.model.ids import CallId
from hub.model.outcome import Ending
from tests.require import require
from tests.trips.broker_rig import PATIENCE, running

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def mosquitto() -> Iterator[Mosquitto]:
    require(PROGRAM)
    broker = Mosquitto()
    yield broker
    broker.close()


@pytest.fixture
def broker(mosquitto: Mosquitto) -> Mosquitto:
    """A broker that remembers nothing of the test before."""
    mosquitto.kill()
    mosquitto.start()
    return mosquitto


async def comes_back(double: DeviceDouble, there: asyncio.Event) -> None:
    """A device as they are: it connects again when its connection is lost and the broker is there."""
    while True:
        await double.closed.wait()
        await there.wait()
        await double.close()
        await double.connect()


@pytest.mark.parametrize("calls", [200, pytest.param(5000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
async def test_a_broker_that_is_killed_under_load_loses_no_call_and_runs_none_twice(
    tmp_path: Path, broker: Mosquitto, calls: int
) -> None:
    # With less than two seconds left a call is not sent, so that a busy machine needs room before them.
    timeout = SECOND * (3 if calls < 1000 else 15)
    async with running(tmp_path, broker, devices=5) as plant:
        doubles = [await plant.device(f"d{number}") for number in range(5)]
        there = asyncio.Event()
        there.set()
        lives = [asyncio.create_task(comes_back(double, there)) for double in doubles]
        doubles[4].hold()  # it carries out what it gets, and is cut off before it answers
        taken = []
        for number in range(calls):
            taken.append(await plant.submit(f"d{number % 5}", timeout=timeout, expiry=timedelta(minutes=1)))
            if number == calls // 2:
                held = await doubles[4].asked()
                there.clear()
                broker.kill()
                doubles[4].go()
            if number == calls * 3 // 4:
                broker.start()
                there.set()
        async with asyncio.timeout(PATIENCE * 10):
            states = [await plant.ended(call) for call in taken]
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)

        executed = Counter(id for double in doubles for id in double.executed)
        endings = {state.call.id: state.outcome.ending for state in states if state.outcome is not None}
        assert len(endings) == calls
        assert set(executed.values()) == {1}
        assert set(endings.values()) <= {Ending.ANSWERED, Ending.UNKNOWN}
        assert endings[CallId(held.call_id)] is Ending.UNKNOWN
        answered = [id for id, ending in endings.items() if ending is Ending.ANSWERED]
        assert all(id in executed for id in answered)
        # What was taken while the broker was away went out afterwards.
        away = [call.id for call in taken[calls // 2 + 1 : calls * 3 // 4]]
        assert all(endings[id] is Ending.ANSWERED for id in away[-5:])
        assert plant.adapter.health()["state"] == "up"


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_nothing_runs_late_on_a_device_that_comes_back_after_the_deadline(
    tmp_path: Path, broker: Mosquitto, method: str
) -> None:
    async with running(tmp_path, broker, presence={}) as plant:
        double = await plant.device("d0", clean=False)
        await plant.ended(await plant.submit("d0"))
        await double.close()  # its session stays at the broker, which keeps messages for it

        late = await plant.ended(await plant.submit("d0", method=method, timeout=SECOND * 2.1, retries=0))
        await double.connect()
        await double.flushed()
        after = await plant.ended(await plant.submit("d0", payload=b"again"))

        assert late.outcome is not None
        assert late.outcome.ending is (Ending.UNKNOWN if method == "POST" else Ending.TIMED_OUT)
        assert after.outcome is not None and after.outcome.payload == b"again"
        assert len(double.executed) == 2  # the first one and the last one


async def test_a_broker_that_keeps_qos_0_runs_nothing_late_on_a_device_of_mqtt_3(tmp_path: Path) -> None:
    require(PROGRAM)
    keeping = Mosquitto("queue_qos0_messages true")
    keeping.start()
    body = {"id": "{id}", "params": "{payload}"}
    template = {"request": "q/{device}", "reply": "a/{device}", "id": "id", "result": "result", "body": body}
    try:
        async with running(tmp_path, keeping, speak="template", template=template, presence={}) as plant:
            double = await plant.device("d0", clean=False, version=4)
            await plant.ended(await plant.submit("d0"))
            await double.close()  # its session stays at the broker, which keeps even QoS 0 for it

            for method, timeout, ending in (
                ("POST", 1.9, Ending.EXPIRED), ("POST", 2.0, Ending.EXPIRED), ("POST", 2.1, Ending.UNKNOWN),
                ("PUT", 0.5, Ending.EXPIRED), ("PUT", 2.0, Ending.EXPIRED), ("PUT", 2.1, Ending.TIMED_OUT),
            ):  # fmt: skip
                given = {"method": method, "timeout": SECOND * timeout, "retries": 0}
                late = await plant.ended(await plant.submit("d0", **given))
                assert late.outcome is not None and late.outcome.ending is ending, (method, timeout)
                assert ("detail" in late.outcome.native) is (ending is Ending.EXPIRED)
            await double.connect()
            await double.flushed()

            assert len(double.executed) == 1
    finally:
        keeping.close()


async def test_a_device_that_says_it_is_away_is_not_called_until_it_is_back(tmp_path: Path, broker: Mosquitto) -> None:
    async with running(tmp_path, broker) as plant:
        double = await plant.device("d0")
        await double.leave()
        await plant.adapter.known("d0", Presence.OFFLINE)
        call = await plant.submit("d0", payload=b"later")
        assert double.executed == []

        await double.connect()

        assert (await plant.ended(call)).outcome.payload == b"later"  # type: ignore[union-attr]
        assert double.executed == [call.id]


async def test_a_device_registers_once_in_all_its_lives_and_those_of_the_hub(tmp_path: Path, broker: Mosquitto) -> None:
    async with running(tmp_path, broker) as plant:
        double = await plant.device("d0")
        await plant.ended(await plant.submit("d0"))
        await double.restart()
        await plant.ended(await plant.submit("d0"))
    async with running(tmp_path, broker) as plant:
        await plant.device("d0")
        await plant.ended(await plant.submit("d0"))
        device = plant.hub.directory.device("acme", "d0")

        assert device is not None
        assert (device.registration, device.presence) == (Registration.REGISTERED, Presence.ONLINE)
        assert len(await plant.events(EventKind.REGISTERED)) == 1


async def test_a_device_that_stayed_is_there_at_once_after_a_restart_of_the_hub(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with running(tmp_path, broker) as plant:
        double = await plant.device("d0")
        await plant.ended(await plant.submit("d0"))
        plant.doubles.clear()
    async with running(tmp_path, broker, presence={"topic": "devices/{device}/status", "required": True}) as plant:
        plant.doubles.append(double)
        state = await plant.ended(await plant.submit("d0"))
        device = plant.hub.directory.device("acme", "d0")

        assert state.outcome is not None and state.outcome.ending is Ending.ANSWERED
        assert device is not None and device.presence is Presence.ONLINE


async def test_a_call_ends_by_the_answer_that_comes_after_a_restart_of_the_hub(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with running(tmp_path, broker) as plant:
        double = await plant.device("d0")
        double.hold()
        call = await plant.submit("d0", timeout=timedelta(seconds=30))
        asked = await double.asked()
        plant.doubles.clear()
        await asked.double.flushed()
    double.qos = 1
    await asked.answer(b"at last")  # while there is no hub: the broker keeps it for this one
    async with running(tmp_path, broker) as plant:
        plant.doubles.append(double)
        state = await plant.ended(call)

        assert state.outcome is not None
        assert (state.outcome.ending, state.outcome.payload) == (Ending.ANSWERED, b"at last")
        assert double.executed == [call.id]
