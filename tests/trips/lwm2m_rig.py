"""A whole hub with LwM2M devices around it: what it is set to, what its channel told, devices of its own."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.lwm2m.double import DeviceDouble
from adapters.lwm2m.endpoint import UdpEndpoint
from hub.ports.clock import SystemClock
from tests.hub_process import HubProcess

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


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """A hub in this folder, and its devices."""
    port = free_udp_port()
    config = CONFIG.format(port=port) + KEYED
    with HubProcess(folder, config=config, key="ak_lwm2m_test_0123456789", environ={"METER_PSK": "a key"}) as hub:
        yield Served(hub, port)


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
