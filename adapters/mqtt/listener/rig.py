"""The rig of the MQTT adapter: its own listener on a free port and doubles that dial in to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from adapters.mqtt.listener import codec
from adapters.mqtt.listener.adapter import MqttAdapter
from adapters.mqtt.listener.codec import PubAck, Publish, Subscribe
from adapters.mqtt.listener.double import PRODUCT, Asked, DeviceDouble
from adapters.mqtt.listener.settings import MqttSettings
from hub.ports.adapter import AdapterContext, DeviceRequest
from hub.ports.clock import Clock

KEY = "ak_mqtt_rig_0123456789"

__all__ = ["Asked", "DeviceDouble", "Rig", "create_rig"]


class Rig:
    """An adapter with its listener, for one case of the suite. Its devices sign in by an API key."""

    cannot: Mapping[int | str, str] = MappingProxyType(
        {
            19: "its devices know of no observations; they post, and its own tests observe that",
            21: "its devices say nothing of sleep",
            22: "observed are points, whatever the target of the suite; the adapter's own tests do that",
            24: "posts are acknowledged, never shed; the adapter's own tests fill the intake",
            27: "MQTT 3.1.1 has no close codes; the adapter's own tests send too much",
            28: "observed are points; the adapter's own tests cut and restore connections",
            31: "its devices never sign off for good; the adapter's own tests let them come and go",
            32: "services take POST, points GET and PUT; the adapter's own tests try each method",
            33: "its devices hold no jobs",
            34: "its devices hold no jobs",
            "test_19_a_restarted_device_registers_anew_and_its_observations_are_resumed": "as case 19",
            "test_20_coming_changing_and_leaving_are_told_once_and_in_order": "its devices do not sign off for good",
            "test_20_a_registration_says_what_the_device_offers": "its devices do not say what they offer",
            "test_20_a_call_waits_for_a_sleeping_device": "its devices say nothing of sleep",
        }
    )
    deduplicates = False
    target = "/service/x"
    key = KEY
    secrets: tuple[str, ...] = (KEY, "s3cret-of-a-device")

    def __init__(self, **settings: Any) -> None:
        self._settings = MqttSettings(**{"port": 0, "packets_per_second": 1_000_000, **settings})
        self.adapter = MqttAdapter(self._settings)
        self.doubles: list[DeviceDouble] = []

    @property
    def port(self) -> int:
        """Where devices dial in."""
        return int(self.adapter.health()["ports"]["mqtt"])

    async def open(self, ctx: AdapterContext) -> None:
        """Start the adapter. The context admits the rig's key."""
        admits: Any = ctx
        admits.keys[KEY] = "acme"
        await self.adapter.start(ctx)

    async def close(self) -> None:
        """Stop the adapter; leaves neither task nor socket."""
        await self.adapter.stop(1.0)
        await self.unserve()

    async def serve(self, clock: Clock) -> None:
        """The adapter serves by itself."""

    async def unserve(self) -> None:
        """Take the devices away."""
        for double in self.doubles:
            await double.close()

    async def restart_hub(self, ctx: AdapterContext) -> None:
        """Another process of the hub: a new adapter that remembers nothing, at the same address."""
        port = self.port
        await self.adapter.stop(1.0)
        for double in self.doubles:
            await double.gone()
        self.adapter = MqttAdapter(replace(self._settings, port=port))
        await self.adapter.start(ctx)

    def double(self, identity: str | None = None, **more: Any) -> DeviceDouble:
        """A device that has not dialled in yet."""
        more = {"key": KEY, **more}
        double = DeviceDouble("127.0.0.1", self.port, identity or f"dev-{len(self.doubles)}", **more)
        self.doubles.append(double)
        return double

    async def device(self, **more: Any) -> DeviceDouble:
        """A registered device that nobody used yet."""
        double = self.double(**more)
        assert await double.connect() == codec.ACCEPTED
        return double

    async def degrade(self, ctx: AdapterContext, call: Callable[[], DeviceRequest]) -> None:
        """Bring the adapter into a state in which it works only in part: no further connection fits."""
        while self.adapter.health()["state"] == "up":
            await self.device()

    async def interrupt(self) -> None:
        """The connections of all devices break; returns when the adapter has noticed."""
        for double in self.doubles:
            await double.drop()
        await self.adapter.quiet()

    async def restore(self) -> None:
        """Devices may come back."""

    def garbage(self, seed: random.Random) -> tuple[bytes, bool]:
        """A packet that is whole by its length, and nearly good or nothing at all."""
        topic = f"/sys/{PRODUCT}/{seed.choice(('dev-1', 'dev-0', 'x'))}/thing/" + seed.choice(
            ("service/x_reply", "measurepoint/post", "event/e/post", "model/up_raw", "topo/add", "tag/query", "no")
        )
        body = seed.choice((
            b"", b"{", b"[]", b"1", b"null", b'{"id":5}', b'{"id":"1","params":[]}', b'{"id":"1","params":{}}',
            b'{"id":"1","params":{"measurepoints":{"a":1}}}', b'{"id":"1","code":"x"}', seed.randbytes(12),
            b'{"id":"1","params":{"measurepoints":{"a":%b}}}' % _nested(seed), b'{"id":%b,"code":200}' % _nested(seed),
            b'{"id":"1","params":{"events":%b}}' % _nested(seed), b'{"id":"1","code":200,"data":%b}' % _nested(seed),
        ))  # fmt: skip
        good = bytearray(codec.encode(seed.choice((
            Publish(topic, body), Publish(topic, body, 1, seed.randrange(1, 65536)), PubAck(seed.randrange(1, 65536)),
            Subscribe(1, ((topic, 1), ("#", 0))), codec.PingReq(), codec.UnsubAck(3), codec.ConnAck(0),
        ))))  # fmt: skip
        kind = seed.randrange(4)
        if kind == 0:
            rest = seed.randbytes(seed.randrange(40))
            return bytes((seed.randrange(256), len(rest))) + rest, False
        if kind == 1 and len(good) < 128 and len(good) > 2:
            good[seed.randrange(2, len(good))] = seed.randrange(256)
        elif kind == 2:
            good[0] = seed.randrange(256)
        return bytes(good), False


def _nested(seed: random.Random) -> bytes:
    """A value of many levels: fewer than are taken, more, more than can be written, more than can be read."""
    levels = seed.choice((20, 40, 260, 1000, 3000))
    return b"[" * levels + b"]" * levels


def create_rig(folder: Path, *, devices: int = 64, inflight: int = 16, variant: str = "", **settings: Any) -> Rig:
    """A rig; it keeps no files."""
    settings.setdefault("connections", devices)
    settings.setdefault("connect_time", timedelta(days=30))
    settings.setdefault("keep_alive", timedelta(days=30))
    return Rig(window=inflight, **settings)
