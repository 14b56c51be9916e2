"""LwM2M devices on a whole hub: they register by themselves, are called, and outlive a kill -9 of the hub."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.lwm2m import codec
from adapters.lwm2m.double import DeviceDouble, Refused
from adapters.lwm2m.endpoint import UdpEndpoint
from hub.ports.clock import SystemClock
from hub.serving import raise_file_limit
from tests.hub_process import HubProcess

pytestmark = pytest.mark.anyio

AT_ONCE = 100
READY_WITHIN = 2.0
CONFIG = """
[accounts.acme]
[applications.shop]
account = "acme"
[keys.test]
application = "shop"
scopes = ["call", "listen", "device"]
key = "ak_lwm2m_test_0123456789"
[adapters.lwm2m]
kind = "lwm2m"
account = "acme"
open = true
port = {port}
"""


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def events(hub: HubProcess) -> list[str]:
    """The kinds of all events on the channel, in order."""
    members = ("registrations", "reg-updates", "de-registrations", "registrations-expired", "async-responses")
    told: list[str] = []
    place, page = "offset=0", {"messages": [None]}
    while page["messages"]:
        page = hub.ask("GET", f"v1/channels/default/messages?{place}&limit=1000&wait=0") or {"messages": []}
        told += [member for message in page["messages"] for member in members if member in message]
        if page["messages"]:
            place = f"offset={page['messages'][-1]['offset']}&epoch={page['messages'][-1]['epoch']}"
    return told


async def call(hub: HubProcess, device: str, **body: Any) -> dict[str, Any]:
    answer = await asyncio.to_thread(hub.ask, "POST", f"v1/devices/{device}/calls", body, None, Prefer="wait=20")
    assert isinstance(answer, dict)
    return answer


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

            assert await called(hub, devices) == {200: count}
            await devices[3].update()
            told = Counter(await asyncio.to_thread(events, hub))
            assert sum(device.received for device in devices) == count + 1
    assert (told["registrations"], told["reg-updates"], told["async-responses"]) == (count, 1, count + 1)


async def test_a_device_that_is_deleted_is_told_so_at_its_next_word_and_may_register_again(tmp_path: Path) -> None:
    port = free_udp_port()
    with HubProcess(tmp_path, config=CONFIG.format(port=port), key="ak_lwm2m_test_0123456789") as hub:
        device = DeviceDouble("ep-1", UdpEndpoint("127.0.0.1", 0), ("127.0.0.1", port), SystemClock())
        try:
            await device.register()
            await asyncio.to_thread(hub.ask, "DELETE", "v1/devices/ep-1")
            with pytest.raises(Refused) as refused:
                await device.update()
            await device.register()
            after = await call(hub, "ep-1", method="GET", uri="/3303/0/5700")
        finally:
            device.close()
    assert refused.value.reply.code == codec.NOT_FOUND
    assert after["status"] == 200, after
