"""A device behind a broker, as a double: a client of the broker like any other, with switches for what devices do.

It speaks one of the ways of the adapter, says online and offline as its settings tell it, and hears its own commands.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import gmqtt
import orjson

from adapters.mqtt.broker.client import Client, Message
from adapters.mqtt.broker.mqtt5 import STATUS
from adapters.mqtt.broker.settings import BrokerSettings
from adapters.mqtt.wire import PAYLOAD, TYPE
from hub.model.device import Presence

PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that reached the device and that it was told not to answer by itself."""

    double: DeviceDouble
    message: Message
    id: str

    @property
    def call_id(self) -> str:
        """Which call it is."""
        return self.id.rpartition(".")[0]

    async def answer(
        self, payload: bytes = b"", status: int = 200, sender: DeviceDouble | None = None, kind: str | None = None
    ) -> None:
        """Answer it, as `sender` if another device is to do so: with what that one knows."""
        (sender or self.double).reply(self.message, self.id, payload, status, kind, sender is not None)
        await (sender or self.double).flushed()


class DeviceDouble:
    """One device. `received` counts the requests that reached it, `executed` lists the calls it carried out."""

    def __init__(
        self, settings: BrokerSettings, address: str, known: Callable[..., Any], *, clean: bool = True,
        version: int | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.address = address
        self.identity = address.rpartition("/")[2]
        self.executed: list[str] = []
        self.requests: list[Message] = []
        self.received = 0
        self.acked: list[int] = []
        self.qos = 0
        self.listens: list[str] = []
        self.heard: list[Message] | None = None
        self.listening = False
        self.closed = asyncio.Event()
        self.news = asyncio.Event()
        self.client_id = f"device-{address.replace('/', '-')}"
        self._known = known
        self._clean = clean
        self._version = version or settings.version
        self._answers = True
        self._asked: asyncio.Queue[Asked] = asyncio.Queue()
        self._client: Client | None = None
        self._granted: asyncio.Future[None] | None = None
        self._back: dict[bytes, asyncio.Future[None]] = {}
        self._numbers = 0

    # -- connection -----------------------------------------------------------------------------

    async def connect(self) -> None:
        """Come to the broker, listen to what it is asked, and say that it is there; returns when the hub knows."""
        settings, will = self.settings, None
        self.closed = asyncio.Event()
        self._granted = asyncio.get_running_loop().create_future()
        if settings.presence.topic is not None:
            will = gmqtt.Message(self._status, settings.presence.offline.encode(), qos=1, retain=True)
        properties: dict[str, Any] = {} if self._version < 5 or self._clean else {"session_expiry_interval": 3600}
        client = self._client = Client(
            self.client_id, clean=self._clean, hear=self._take, lost=self._over, granted=self._listening, will=will,
            **properties,
        )  # fmt: skip
        parts = urlsplit(settings.url)
        async with asyncio.timeout(PATIENCE):
            await client.connect(parts.hostname, parts.port, version=self._version)
            wanted = [gmqtt.Subscription(topic, qos=1) for topic in (*self._topics, self._echo)]
            client.subscribe(wanted)
            await self._granted
            if settings.presence.topic is not None:
                client.send(self._status, settings.presence.online.encode(), 1, True, {})
                await self._known(self.address, Presence.ONLINE)

    @property
    def _status(self) -> str:
        assert self.settings.presence.topic is not None
        return self.settings.presence.topic.fill(device=self.address)

    @property
    def _echo(self) -> str:
        return f"echo/{self.client_id}"

    @property
    def _topics(self) -> list[str]:
        settings = self.settings
        if self.listens:
            return self.listens
        if settings.speak == "mqtt5":
            return [settings.request.fill(device=self.address)]
        if settings.template is not None:
            return [settings.template.request.fill(device=self.address, id="+", method="+", target="#")]
        begin = f"/sys/{self.address}/thing/service"
        return [f"{begin}/{name}" for name in ("x", "y", "add", "measurepoint/get", "measurepoint/set")]

    async def drop(self) -> None:
        """Be gone without a word; returns when the broker has told the hub so."""
        if self._client is not None:
            self._client.abort()
            with contextlib.suppress(OSError):
                await self._client.disconnect()
        self._client = None
        if self.settings.presence.topic is not None:
            async with asyncio.timeout(PATIENCE):
                await self._known(self.address, Presence.OFFLINE)

    async def reconnect(self) -> None:
        """Be back, in the same life."""
        await self.connect()

    async def restart(self) -> None:
        """Begin another life."""
        await self.drop()
        await self.connect()

    async def leave(self) -> None:
        """Say that it goes, and go."""
        if self._client is not None and self.settings.presence.topic is not None:
            self._client.send(self._status, self.settings.presence.offline.encode(), 1, True, {})
        await self.close()

    async def close(self) -> None:
        """Be gone; nothing is left."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(OSError):
                await client.disconnect()

    async def flushed(self) -> None:
        """Return when the broker has dealt with all that was sent."""
        if self._client is None:
            return
        self._numbers += 1
        token = b"%d" % self._numbers
        back = self._back[token] = asyncio.get_running_loop().create_future()
        self._client.send(self._echo, token, 0, False, {})
        async with asyncio.timeout(PATIENCE):
            await back

    # -- switches -------------------------------------------------------------------------------

    def hold(self) -> None:
        """Answer nothing by itself from now on."""
        self._answers = False

    def go(self) -> None:
        """Answer with what it is given, at once."""
        self._answers = True

    async def asked(self) -> Asked:
        """The next request that reached the device while it holds."""
        async with asyncio.timeout(PATIENCE):
            return await self._asked.get()

    async def forge(self) -> None:
        """Answer calls that were never asked."""
        for id in ("", "never-asked", "0197-no-such-call.0123456789ab", "x." + "f" * 12):
            for text in (id, f"{id} {self.address}"):
                self._say(self._last, text, b"forged", 200, None)
        await self.flushed()

    @property
    def _last(self) -> Message:
        return self.requests[-1]

    def publish(self, topic: str, payload: bytes, qos: int = 0, *, retain: bool = False, **properties: Any) -> None:
        """Publish something."""
        assert self._client is not None
        self._client.send(topic, payload, qos, retain, properties)

    async def send_raw(self, data: bytes, *, text: bool = False) -> None:
        """Publish garbage: a topic and a payload with a line's end between them."""
        topic, _, payload = data.partition(b"\n")
        self.publish(topic.decode(), payload, 1 if text else 0)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once a condition on what the device got holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.news.clear()
                await self.news.wait()

    @property
    def observed(self) -> int:
        """Devices of this protocol know of no observations."""
        return 0

    # -- answering ------------------------------------------------------------------------------

    def reply(
        self, asked: Message, id: str, payload: bytes, status: int, kind: str | None, foreign: bool = False
    ) -> None:
        """Answer a request; a foreign one as itself."""
        text = f"{id} {self.address}" if self.settings.speak == "mqtt5" else id
        self._say(asked, text, payload, status, kind, foreign)

    def _say(
        self, asked: Message, id: str, payload: bytes, status: int, kind: str | None, foreign: bool = False
    ) -> None:
        settings = self.settings
        if settings.speak == "mqtt5":
            properties: dict[str, Any] = {"correlation_data": id.encode()}
            if kind is not None:
                properties["content_type"] = kind
            if status != 200:
                properties["user_property"] = [(STATUS, str(status))]
            self.publish(asked.one("response_topic"), payload, self.qos, **properties)
            return
        data = {PAYLOAD: base64.b64encode(payload).decode(), TYPE: kind}
        if settings.template is not None:
            body: dict[str, Any] = {"id": id, "code": status, "result": data}
            self.publish(settings.template.reply.fill(device=self.address), orjson.dumps(body), self.qos)
            return
        body = {"id": id, "code": status, "message": "" if status == 200 else payload.decode()}
        if status == 200:
            body["data"] = data
        own = asked.topic.split("/")
        own[2:4] = self.address.split("/")
        self.publish(("/".join(own) if foreign else asked.topic) + "_reply", orjson.dumps(body), self.qos)

    # -- hearing --------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        message.acknowledge()
        if message.topic == self._echo:
            back = self._back.pop(message.payload, None)
            if back is not None and not back.done():
                back.set_result(None)
            return
        if self.heard is not None:
            self.heard.append(message)
            self.news.set()
            return
        self.received += 1
        self.requests.append(message)
        payload, kind = message.payload, message.one("content_type")
        if self.settings.speak == "mqtt5":
            id = bytes(message.one("correlation_data")).decode().partition(" ")[0]
        else:
            body = orjson.loads(message.payload)
            id, value = body["id"], body["params"]
            if isinstance(value, dict) and PAYLOAD in value:
                payload, kind = base64.b64decode(value[PAYLOAD]), value[TYPE]
            else:
                payload = b"" if not value else orjson.dumps(value)
        asked = Asked(self, message, id)
        self.executed.append(asked.call_id)
        if self._answers:
            self.reply(message, id, payload, 200, kind)
        else:
            self._asked.put_nowait(asked)
        self.news.set()

    def _listening(self, id: int, granted: tuple[int, ...]) -> None:
        self.listening = True
        if self._granted is not None and not self._granted.done():
            self._granted.set_result(None)

    def _over(self, why: str) -> None:
        self.closed.set()
        self.news.set()
