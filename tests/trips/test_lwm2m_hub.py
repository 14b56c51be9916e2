"""LwM2M devices on a whole hub: they register by themselves, are called, and outlive a kill -9 of the hub."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.double import DeviceDouble, Refused
from adapters.lwm2m.endpoint import UdpEndpoint
from hub.ports.clock import SystemClock
from hub.serving import raise_file_limit
from tests.hub_process import HubProcess
from tests.trips.lwm2m_rig import CONFIG, Served, call, events, free_udp_port, serving

pytestmark = pytest.mark.anyio

AT_ONCE = 100
READY_WITHIN = 2.0


@asynccontextmanager
async def fleet(port: int, count: int) -> AsyncIterator[list[DeviceDouble]]:
    """So many registered devices, each on a socket of its own."""
    clock, hub = SystemClock(), ("127.0.0.1", port)
    devices: list[DeviceDouble] = []
    try:
        for number in range(count):
            endpoint = UdpEndpoint("127.0.0.1", 0, receive_buffer=4096)
            devices.append(DeviceDouble(f"ep-{number}", endpoint, hub, clock, lifetime=86_400))
        for first in range(0, count, AT_ONCE):
            await asyncio.gather(*(device.register() for device in devices[first : first + AT_ONCE]))
        yield devices
    finally:
        for device in devices:
            device.close()


async def called(hub: HubProcess, devices: list[DeviceDouble]) -> Counter[int]:
    """One call to each device; the statuses of the answers."""
    headers = {"Authorization": f"Bearer {hub.key}", "Prefer": "wait=60"}
    body = {"method": "GET", "uri": "/3303/0/5700"}
    statuses: Counter[int] = Counter()
    names = iter(device.identity for device in devices)

    async def work(session: aiohttp.ClientSession) -> None:
        for name in names:
            async with session.post(f"{hub.url}v1/devices/{name}/calls", json=body) as answer:
                statuses[(await answer.json())["status"]] += 1

    async with aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as tasks:
        for _ in range(32):
            tasks.create_task(work(session))
    return statuses


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
async def test_registered_devices_are_called_before_and_after_a_kill_without_registering_again(
    tmp_path: Path, count: int
) -> None:
    raise_file_limit()
    port = free_udp_port()
    config = CONFIG.format(port=port) + "registrations_per_second = 100000\nregistration_burst = 100000\n"
    with HubProcess(tmp_path, config=config, key="ak_lwm2m_test_0123456789") as hub:
        async with fleet(port, count) as devices:
            before = await call(hub, "ep-7", method="GET", uri="/3303/0/5700")
            assert before["status"] == 200, before
            told = await asyncio.to_thread(events, hub)
            assert Counter(told)["registrations"] == count
            await asyncio.to_thread(hub.kill)
            began = time.monotonic()
            await asyncio.to_thread(hub.start)
            took = time.monotonic() - began
            assert hub.process is not None
            # The machine's other work is in the wall clock and not in this.
            used = cpu_seconds(hub.process.pid)
            print(f"{count} devices: ready {took:.2f} s after it was started, {used:.2f} s of CPU")
            assert used < READY_WITHIN
            if count == 10_000:  # the soak form, which is run on a machine that has nothing else to do
                assert took < READY_WITHIN

            assert await called(hub, devices) == {200: count}
            await devices[3].update()
            told = Counter(await asyncio.to_thread(events, hub))
            assert sum(device.received for device in devices) == count + 1
    assert (told["registrations"], told["reg-updates"], told["async-responses"]) == (count, 1, count + 1)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("hub")) as made:
        yield made


async def test_a_device_that_is_deleted_is_told_so_at_its_next_word_and_may_register_again(served: Served) -> None:
    with served.device("ep-1") as device:
        await device.register()
        await asyncio.to_thread(served.hub.ask, "DELETE", "v1/devices/ep-1")
        with pytest.raises(Refused) as refused:
            await device.update()
        await device.register()
        after = await call(served.hub, "ep-1", method="GET", uri="/3303/0/5700")
    assert refused.value.reply.code == codec.NOT_FOUND
    assert after["status"] == 200, after


async def test_a_device_that_is_given_a_key_is_not_called_any_more_where_it_came_without_one(served: Served) -> None:
    ask = served.hub.ask
    with served.device("later") as device:
        await device.register()
        put = {"adapter": "lwm2m", "address": "later", "aliases": {"psk-identity": "later-id"}}
        await asyncio.to_thread(ask, "PUT", "v1/devices/later", put)
        body = {"method": "POST", "uri": "/3/0/4"}
        told = await asyncio.to_thread(ask, "POST", "v1/devices/later/calls", body, None, Prefer="wait=1")
        with pytest.raises(Refused) as refused:
            await device.update()
        with pytest.raises(Refused):
            await device.register()

        assert ("status" in told, device.received) == (False, 0), told  # it waits for whoever proves to be the device
        assert refused.value.reply.code == codec.NOT_FOUND
        assert await served.presence("later") == "offline"


@pytest.mark.parametrize("name", ["meter8", "acme/meter8", "meter9", "urn:meter:9", "the-identity", "Meter 9", "a/b"])
async def test_where_everybody_is_let_in_nobody_is_taken_for_a_device_with_a_key(served: Served, name: str) -> None:
    with served.device(name) as device:
        for _ in range(2):
            with pytest.raises(Refused) as refused:
                await device.register()
            assert refused.value.reply.code == codec.FORBIDDEN
    for keyed in ("meter8", "meter9"):
        told = await asyncio.to_thread(served.hub.ask, "GET", f"v1/devices/{keyed}")
        assert told["registration"] != "registered"


async def test_a_device_that_sleeps_is_shown_asleep_after_a_restart_and_registers_nothing(served: Served) -> None:
    with served.device("sleepy", binding="UQ") as sleepy, served.device("wakeful") as wakeful:
        await sleepy.register()
        await wakeful.register()
        assert [await served.presence(name) for name in ("sleepy", "wakeful")] == ["online", "online"]
        before = Counter(await asyncio.to_thread(events, served.hub))
        await asyncio.to_thread(served.hub.kill)
        await asyncio.to_thread(served.hub.start)

        async with asyncio.timeout(10):
            while await served.presence("sleepy") != "asleep":
                pass  # each question is a round trip, none is a pause
        assert await served.presence("wakeful") == "online"
        assert Counter(await asyncio.to_thread(events, served.hub)) == before
