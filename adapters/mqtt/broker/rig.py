"""The rig of the MQTT adapter's broker mode: a real mosquitto, one for all cases of a process, and devices at it.

Variants are the ways of speaking: `mqtt5`, `template` (devices of 3.1.1 with the id in the body) and `enos`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gmqtt

from adapters.mqtt.broker.adapter import BrokerAdapter
from adapters.mqtt.broker.double import PATIENCE, Asked, DeviceDouble
from adapters.mqtt.broker.mosquitto import PROGRAM, Mosquitto
from adapters.mqtt.broker.settings import read
from hub.model.device import Presence
from hub.ports.adapter import AdapterContext, DeviceRequest
from hub.ports.clock import Clock

VARIANTS = ("mqtt5", "template", "enos")
NEEDS = (PROGRAM,)
PASSWORD = "correct-horse-battery-staple"

__all__ = ["NEEDS", "VARIANTS", "Asked", "DeviceDouble", "Rig", "create_rig"]

_numbers = itertools.count()
_brokers: list[Mosquitto] = []

_CANNOT: dict[int | str, str] = {
    19: "a broker does not tell one life of a device from the next",
    20: "its devices do not sign off for good, and do not say what they offer",
    21: "its devices say nothing of sleep",
    22: "observed is what rules name; tests/wires/test_broker_telemetry.py",
    24: "as 22",
    25: "the broker acknowledges to the device; tests/wires/test_broker_telemetry.py looks behind it",
    28: "as 22; reconnecting: tests/wires/test_broker_link.py",
    31: "its devices do not sign off for good",
    32: "an observation begins without a value; each method: tests/wires/test_broker_calls.py",
    33: "its devices hold no jobs",
    34: "its devices hold no jobs",
    "test_19_a_restarted_device_registers_anew_and_its_observations_are_resumed": "as case 19",
    "test_20_a_call_waits_for_a_sleeping_device": "its devices say nothing of sleep",
}


class Rig:
    """An adapter at a broker, for one case of the suite; its topics are its own."""

    deduplicates = False
    key: str | None = None
    secrets: tuple[str, ...] = (PASSWORD,)

    def __init__(self, speak: str = "mqtt5", **settings: Any) -> None:
        self.cannot: Mapping[int | str, str] = MappingProxyType(_CANNOT)
        self.space = f"rig{next(_numbers)}"
        self.target = "/service/x" if speak == "enos" else "/x"
        self.broker = broker()
        self.table = self._table(speak, settings)
        self.settings = read(self.table)
        self.adapter = BrokerAdapter(self.settings)
        self.doubles: list[DeviceDouble] = []
        self._intruders: list[gmqtt.Client] = []

    def _table(self, speak: str, more: Mapping[str, Any]) -> dict[str, Any]:
        space = self.space
        table: dict[str, Any] = {
            "url": self.broker.url, "username": "hub", "password": PASSWORD, "client_id": f"hub-{space}", "session": 0,
            "speak": speak, "presence": {"topic": f"{space}/{{device}}/status", "required": True},
        }  # fmt: skip
        if speak == "mqtt5":
            table["request"] = f"{space}/{{device}}/request"
            table["telemetry"] = [{"topic": f"{space}/{{device}}/tells/{{path...}}", "path": "/told/{path}"}]
        elif speak == "template":
            table["version"] = 4
            table["template"] = {
                "request": f"{space}/{{device}}/asks", "reply": f"{space}/{{device}}/answers",
                "id": "id", "status": "code", "result": "result",
                "body": {"id": "{id}", "method": "{method}", "target": "{target}", "params": "{payload}"},
            }  # fmt: skip
        return {**table, **more}

    async def open(self, ctx: AdapterContext) -> None:
        """Start the adapter; returns when it is at the broker."""
        await self.adapter.start(ctx)
        async with asyncio.timeout(PATIENCE):
            await self.adapter.connected()

    async def close(self) -> None:
        """Stop the adapter; leaves neither task nor socket."""
        await self.adapter.stop(1.0)
        await self.unserve()

    async def serve(self, clock: Clock) -> None:
        """The broker serves by itself; return when the adapter is there."""
        async with asyncio.timeout(PATIENCE):
            await self.adapter.connected()

    async def unserve(self) -> None:
        """Take the devices away."""
        for client in self._intruders:
            with contextlib.suppress(OSError):
                await client.disconnect()
        for double in self.doubles:
            await double.close()

    async def restart_hub(self, ctx: AdapterContext) -> None:
        """Another process of the hub: a new adapter that remembers nothing, under the same name."""
        await self.adapter.stop(1.0)
        self.adapter = BrokerAdapter(self.settings)
        await self.open(ctx)

    def double(self, identity: str | None = None, **more: Any) -> DeviceDouble:
        """A device that has not come to the broker yet."""
        name = identity or f"dev-{self.space}-{len(self.doubles)}"
        address = f"pk-{self.space}/{name}" if self.settings.speak == "enos" else name
        double = DeviceDouble(self.settings, address, self._known, **more)
        self.doubles.append(double)
        return double

    async def _known(self, address: str, presence: Presence) -> None:
        await self.adapter.known(address, presence)

    async def device(self, **more: Any) -> DeviceDouble:
        """A device that is there and that nobody used yet."""
        double = self.double(**more)
        await double.connect()
        return double

    async def degrade(self, ctx: AdapterContext, call: Callable[[], DeviceRequest]) -> None:
        """Bring the adapter into a state in which it works only in part: somebody takes the place of its intake."""
        if len(self.adapter.links) > 1:
            await self.intrude(self.adapter.links[1].client_id)
            await self.adapter.troubled()
        else:
            self.adapter.prepared.missing.add("somebody")

    async def intrude(self, client_id: str) -> None:
        """Take the place of another client of the broker."""
        client = gmqtt.Client(client_id)
        client.set_config({"reconnect_retries": -2})
        self._intruders.append(client)
        await client.connect("127.0.0.1", self.broker.port, version=self.settings.version)

    async def interrupt(self) -> None:
        """All devices are cut off; returns when the adapter has noticed."""
        for double in self.doubles:
            await double.drop()

    async def restore(self) -> None:
        """Devices may come back."""

    async def oversized(self, double: DeviceDouble) -> None:
        """A device says more than is taken, wherever the hub listens to it; returns when that is refused. What is still
        larger, a broker of MQTT 5 keeps from the hub."""
        before = self.adapter.health()["ignored"]
        topics = self._heard_of(double.address)
        for topic in topics:
            double.publish(topic, b" " * (self.settings.max_message + 1), 1)
        async with asyncio.timeout(PATIENCE):
            while self.adapter.health()["ignored"] < before + len(topics):
                await double.flushed()

    def _heard_of(self, device: str) -> list[str]:
        topics = [f"{self.space}/{device}/status"]
        if self.settings.telemetry:
            topics.append(f"{self.space}/{device}/tells/a")
        if self.settings.speak == "mqtt5":
            topics.append(f"hubs/hub-{self.space}/replies")
        elif self.settings.template is not None:
            topics.append(self.settings.template.reply.fill(device=device))
        else:
            topics += [f"/sys/{device}/thing/{what}" for what in ("service/x_reply", "measurepoint/post")]
        return topics

    def garbage(self, seed: random.Random) -> tuple[bytes, bool]:
        """A topic that the hub listens to, and something that nearly belongs there or nothing at all."""
        settings, device = self.settings, seed.choice([double.address for double in self.doubles])
        topics = [f"hubs/hub-{self.space}/replies", f"{self.space}/{device}/status", f"{self.space}/{device}/tells/a"]
        if settings.template is not None:
            topics += [settings.template.reply.fill(device=device)] * 3
        if settings.speak == "enos":
            topics += [f"/sys/{device}/thing/{what}" for what in (
                "service/x_reply", "service/x_reply_reply", "measurepoint/post", "event/e/post", "model/up_raw",
                "topo/add", "measurepoint/post/batch",
            )]  # fmt: skip
        body = seed.choice((
            b"", b"{", b"[]", b"1", b"null", b'{"id":5}', b'{"id":"1","params":[]}', b'{"id":"1","params":{}}',
            b'{"id":"1","params":{"measurepoints":{"a":1}}}', b'{"id":"1","code":"x"}', seed.randbytes(12),
            b'{"id":{"a":1},"code":200}', b'{"id":"' + b"9" * 500 + b'"}',
        ))  # fmt: skip
        return seed.choice(topics).encode() + b"\n" + body, seed.random() < 0.3


def broker() -> Mosquitto:
    """The broker of this process."""
    if not _brokers:
        _brokers.append(Mosquitto())
        _brokers[0].start()
    return _brokers[0]


def create_rig(folder: Path, *, devices: int = 64, inflight: int = 16, variant: str = VARIANTS[0], **more: Any) -> Rig:
    """A rig; it keeps no files."""
    return Rig(variant, window=inflight, **more)
