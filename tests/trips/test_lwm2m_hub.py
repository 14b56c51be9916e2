"""LwM2M devices on a whole hub: they register by themselves, are called, and outlive a kill -9 of the hub."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.lwm2m import codec, content
from adapters.lwm2m.codec import CON, NON, Message
from adapters.lwm2m.double import DeviceDouble, Refused
from adapters.lwm2m.endpoint import UdpEndpoint
from adapters.lwm2m.option import CONTENT_FORMAT, OBSERVE, uint
from hub.ports.clock import SystemClock
from hub.serving import raise_file_limit
from tests.hub_process import HubProcess

pytestmark = pytest.mark.anyio

AT_ONCE = 100
READY_WITHIN = 2.0
OTHER = "ak_stand_test_0123456789"
CONFIG = """
[accounts.acme]
[applications.shop]
account = "acme"
[keys.test]
application = "shop"
scopes = ["call", "listen", "device"]
key = "ak_lwm2m_test_0123456789"
[applications.stand]
account = "acme"
[keys.stand]
application = "stand"
scopes = ["call", "listen", "device"]
key = "ak_stand_test_0123456789"
[adapters.lwm2m]
kind = "lwm2m"
account = "acme"
open = true
port = {port}
"""
KEYED = """
[devices.meter8]
account = "acme"
adapter = "lwm2m"
aliases = { "psk-identity" = "the-identity" }
secret_env = "METER_PSK"
[devices.meter9]
account = "acme"
adapter = "lwm2m"
address = "urn:meter:9"
name = "Meter 9"
aliases = { "psk-identity" = "meter9" }
secret_env = "METER_PSK"
"""


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def messages(hub: HubProcess, key: str | None = None) -> list[dict[str, Any]]:
    """All messages on the channel, in order."""
    told: list[dict[str, Any]] = []
    place, page = "offset=0", {"messages": [None]}
    while page["messages"]:
        answer = hub.ask("GET", f"v1/channels/default/messages?{place}&limit=1000&wait=0", None, key)
        page = answer or {"messages": []}
        told += page["messages"]
        if told:
            place = f"offset={told[-1]['offset']}&epoch={told[-1]['epoch']}"
    return told


def events(hub: HubProcess) -> list[str]:
    """The kinds of all events on the channel, in order."""
    members = ("registrations", "reg-updates", "de-registrations", "registrations-expired", "async-responses")
    return [member for message in messages(hub) for member in members if member in message]


def values(hub: HubProcess, device: str, key: str | None = None) -> list[bytes]:
    """What the channel told of the values of a device, in order."""
    return [
        base64.b64decode(item["payload"])
        for message in messages(hub, key) for item in message.get("notifications", ()) if item["ep"] == device
    ]


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
            if count == 10_000:  # the soak form, which is run on a machine that has nothing else to do
                assert took < READY_WITHIN

            assert await called(hub, devices) == {200: count}
            await devices[3].update()
            told = Counter(await asyncio.to_thread(events, hub))
            assert sum(device.received for device in devices) == count + 1
    assert (told["registrations"], told["reg-updates"], told["async-responses"]) == (count, 1, count + 1)


@dataclass(frozen=True)
class Served:
    """A hub with devices that have keys, and the port that is open to everybody."""

    hub: HubProcess
    port: int

    @contextmanager
    def device(self, name: str, made: type[DeviceDouble] = DeviceDouble, **more: Any) -> Iterator[DeviceDouble]:
        """A device on a socket of its own, that has not registered."""
        double = made(name, UdpEndpoint("127.0.0.1", 0), ("127.0.0.1", self.port), SystemClock(), **more)
        try:
            yield double
        finally:
            double.close()

    async def presence(self, device: str) -> str:
        """As the native front tells it."""
        told = await asyncio.to_thread(self.hub.ask, "GET", f"v1/devices/{device}")
        return str(told["presence"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    port = free_udp_port()
    folder = tmp_path_factory.mktemp("hub")
    config = CONFIG.format(port=port) + KEYED
    with HubProcess(folder, config=config, key="ak_lwm2m_test_0123456789", environ={"METER_PSK": "a key"}) as hub:
        yield Served(hub, port)


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


async def observe(served: Served, device: str, key: str | None = None) -> None:
    """Have the observable resource of a device observed."""
    place = f"v1/devices/{device}/observations/observable"
    await asyncio.to_thread(served.hub.ask, "PUT", place, None, key)


async def until_told(served: Served, device: str, last: bytes, key: str | None = None) -> list[bytes]:
    """The values told of a device, once one of them is this."""
    async with asyncio.timeout(10):
        while last not in (told := await asyncio.to_thread(values, served.hub, device, key)):
            pass  # each question is a round trip, none is a pause
    return told


class Quick(DeviceDouble):
    """Its value changes right behind its answer to an observe."""

    def _observe(self, message: Message, path: str, observe: int) -> None:
        super()._observe(message, path, observe)
        if observe == 0:
            self._value, self._order = b"new", self._order + 1
            self.transmit(Message(NON, codec.CONTENT, 9000, message.token, [(OBSERVE, uint(self._order))], b"new"))


async def test_a_change_right_behind_the_first_value_stays_the_newest_for_everybody(served: Served) -> None:
    with served.device("quick", Quick) as device:
        await device.register()
        await observe(served, "quick")
        told = await until_told(served, "quick", b"new")
        asked = device.received
        now = await call(served.hub, "quick", method="GET", uri="/observable")
        await observe(served, "quick", OTHER)
        theirs = await until_told(served, "quick", b"new", OTHER)

    assert told[-1] == theirs[-1] == base64.b64decode(now["payload-b64"]) == b"new"
    assert device.received == asked  # it was told from what the hub keeps


async def test_a_burst_of_confirmed_and_unconfirmed_values_is_told_whole_and_in_order(served: Served) -> None:
    with served.device("burst") as device:
        await device.register()
        await observe(served, "burst")
        await until_told(served, "burst", b"0")
        (token,) = device.observing
        for n in range(10, 60):
            options = [(OBSERVE, uint(n))]
            device.transmit(Message(CON if n % 6 == 0 else NON, codec.CONTENT, 9000 + n, token, options, b"%d" % n))
        told = await until_told(served, "burst", b"59")
    assert told == [b"0", *(b"%d" % n for n in range(10, 60))]


async def test_the_token_of_an_observation_is_honoured_after_a_kill(served: Served) -> None:
    with served.device("kept") as device:
        await device.register()
        await observe(served, "kept")
        await until_told(served, "kept", b"0")
        (token,) = device.observing
        await asyncio.to_thread(served.hub.kill)
        device._asked_for = lambda message: None  # type: ignore[method-assign]  # so nothing is observed anew
        await asyncio.to_thread(served.hub.start)
        device.confirms = True
        await device.notify([b"after the kill"])
        told = await until_told(served, "kept", b"after the kill")
        assert (told, list(device.observing)) == ([b"0", b"after the kill"], [token])


class Battery(DeviceDouble):
    """It knows no format but TLV, whatever it is asked."""

    def _reply(self, to: Message, reply: Message) -> None:
        options = [option for option in reply.options if option[0] != CONTENT_FORMAT]
        tlv = [*options, (CONTENT_FORMAT, uint(content.TLV))]
        super()._reply(to, Message(reply.kind, codec.CONTENT, reply.mid, reply.token, tlv, bytes.fromhex("c10964")))


async def test_what_a_device_says_in_tlv_is_decoded_beside_its_bytes_wherever_the_native_front_tells_it(
    served: Served,
) -> None:
    raw, said = base64.b64encode(bytes.fromhex("c10964")).decode(), [{"n": "/3/0/9", "v": 100}]
    with served.device("battery", Battery, links="</3/0>;obs") as device:
        await device.register()
        answer = await call(served.hub, "battery", method="GET", uri="/3/0")
        await asyncio.to_thread(served.hub.ask, "PUT", "v1/devices/battery/observations/3/0")
        await until_told(served, "battery", bytes.fromhex("c10964"))
        asked = device.received
        kept = await call(served.hub, "battery", method="GET", uri="/3/0")
        assert device.received == asked
        told = await asyncio.to_thread(messages, served.hub)

    found = [item for message in told for item in message.get("notifications", ()) if item["ep"] == "battery"]
    found += [item for message in told for item in message.get("async-responses", ()) if item["device"] == "battery"]
    for view in (answer, kept):
        assert (view["payload-b64"], view["values"]) == (raw, said)
    assert len(found) == 3
    assert all((item["payload"], item["values"]) == (raw, said) for item in found), found
