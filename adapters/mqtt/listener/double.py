"""A device that dials in over MQTT, as a double: a real client on a real socket, with switches for what devices do
wrong. It signs in as the vendor's SDK does, or with an API key, and answers commands without having subscribed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from adapters.mqtt.listener import codec
from adapters.mqtt.listener.codec import (
    ConnAck,
    Connect,
    Decoder,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    Publish,
)
from adapters.mqtt.wire import PAYLOAD, TYPE

PATIENCE = 5.0
PRODUCT = "pkRig"


def signature(
    client_id: str, device: str, product: str, timestamp: str, secret: str, algorithm: str = "sha256"
) -> str:
    """What a device signs with, as the vendor's SDK computes it."""
    text = f"clientId{client_id}deviceKey{device}productKey{product}timestamp{timestamp}{secret}"
    digest = hashlib.new(algorithm, text.encode()).hexdigest()
    return digest.upper() if algorithm == "sha1" else digest


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that reached the device and that it was told not to answer by itself."""

    double: DeviceDouble
    topic: str
    body: dict[str, Any]

    @property
    def call_id(self) -> str:
        """Which call it is."""
        return str(self.body["id"]).rpartition(".")[0]

    async def answer(self, payload: bytes = b"", status: int = 200, sender: DeviceDouble | None = None) -> None:
        """Answer it, as `sender` if another device is to do so."""
        who = sender or self.double
        body: dict[str, Any] = {"id": self.body["id"], "code": status, "message": ""}
        if status == 200:
            body["data"] = {PAYLOAD: base64.b64encode(payload).decode(), TYPE: "text/plain"}
        else:
            body["message"] = payload.decode()
        topic = self.topic if sender is None else self.topic.replace(self.double.identity, who.identity)
        await who.publish(topic + "_reply", orjson.dumps(body))

    async def say(self, body: bytes) -> None:
        """Answer with these very bytes."""
        await self.double.publish(self.topic + "_reply", body)


class DeviceDouble:
    """One device. `received` counts the packets that the hub sent to it, `executed` lists the calls it carried out."""

    def __init__(
        self, host: str, port: int, identity: str, *, product: str = PRODUCT, key: str | None = None,
        secret: str = "", mode: int = 2, algorithm: str = "sha256", tls: ssl.SSLContext | None = None,
        keep_alive: int = 60,
    ) -> None:
        self.identity = identity
        self.product = product
        self.address = f"at/{identity}"
        self.executed: list[str] = []
        self.commands: list[tuple[str, Any]] = []
        self.messages: list[Publish] = []
        self.received = 0
        self.acked: list[int] = []
        self.connack: int | None = None
        self.pongs = 0
        self.life = 0
        self.qos = 0
        self.closed = asyncio.Event()
        self.news = asyncio.Event()
        self.points: dict[str, Any] = {}
        self._where = (host, port, tls)
        self._key = key
        self._secret = secret
        self._mode = mode
        self._algorithm = algorithm
        self._keep_alive = keep_alive
        self._answers = True
        self._asked: asyncio.Queue[Asked] = asyncio.Queue()
        self._number = 0
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.Task[None] | None = None

    # -- connection -----------------------------------------------------------------------------

    async def connect(self) -> int:
        """Dial in; the code of the CONNACK. Raises ConnectionError when the hub hangs up instead."""
        await self.dial()
        await self.send(self.hello())
        await self.until(lambda: self.connack is not None or self.closed.is_set())
        if self.connack is None:
            raise ConnectionError("closed without an answer")
        return self.connack

    def hello(self) -> Connect:
        """How it introduces itself."""
        timestamp = f"17000000{self.life:05}.25"
        method = f"hmac{self._algorithm}"
        client_id = f"{self.identity}|securemode={self._mode}, signmethod={method},timestamp={timestamp}|"
        signed = signature(self.identity, self.identity, self.product, timestamp, self._secret, self._algorithm)
        password = (self._key or signed).encode()
        return Connect(client_id, f"{self.identity}&{self.product}", password, self._keep_alive)

    async def dial(self) -> None:
        """Open the socket, and read it, without a CONNECT."""
        self.closed = asyncio.Event()
        self.connack = None
        host, port, tls = self._where
        reader, self._writer = await asyncio.open_connection(host, port, ssl=tls)
        self._reader = asyncio.get_running_loop().create_task(self._read(reader, self.closed))

    async def drop(self) -> None:
        """Be gone without a word."""
        if self._writer is not None:
            self._writer.transport.abort()
        await self.gone()

    async def close(self) -> None:
        """Hang up and leave no task."""
        if self._writer is not None:
            self._writer.close()
        await self.gone()

    async def gone(self) -> None:
        """Return when the connection is over."""
        if self._reader is not None:
            if self._writer is not None:
                self._writer.close()
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None
        self._writer = None

    async def reconnect(self) -> None:
        """Dial in again, in the same life."""
        await self.gone()
        await self.connect()

    async def restart(self) -> None:
        """Begin another life."""
        await self.drop()
        self.life += 1
        await self.connect()

    async def leave(self) -> None:
        """Sign off."""
        await self.send(Disconnect())
        await self.gone()

    async def send(self, packet: Packet) -> None:
        """Send a packet."""
        await self.send_raw(codec.encode(packet))

    async def send_raw(self, data: bytes, *, text: bool = False) -> None:
        """Send bytes."""
        assert self._writer is not None
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def publish(self, topic: str, payload: bytes, qos: int | None = None) -> int:
        """Publish; returns the packet id (0 with QoS 0)."""
        qos = self.qos if qos is None else qos
        number = 0
        if qos:
            self._number = number = self._number % 65535 + 1
        await self.send(Publish(topic, payload, qos, number))
        return number

    async def settle(self) -> None:
        """Return when the hub has read all that was sent: it answers what follows, or has hung up."""
        before = self.pongs
        await self.send(PingReq())
        await self.until(lambda: self.pongs > before or self.closed.is_set())

    # -- switches -------------------------------------------------------------------------------

    def hold(self) -> None:
        """Answer nothing by itself from now on."""
        self._answers = False

    def go(self) -> None:
        """Answer with what it is given, at once."""
        self._answers = True

    async def asked(self) -> Asked:
        """The next command that reached the device while it holds."""
        async with asyncio.timeout(PATIENCE):
            return await self._asked.get()

    async def forge(self) -> None:
        """Answer calls that were never asked."""
        for id in ("never-asked", "0197-no-such-call.0123456789ab", "x." + "f" * 12, 7, None):
            body = orjson.dumps({"id": id, "code": 200, "data": {}})
            await self.publish(self.topic("thing/service/x_reply"), body)

    async def event(self, payload: bytes = b"1") -> int:
        """Tell of something raw, with QoS 1; returns its number."""
        return await self.publish(self.topic("thing/model/up_raw"), payload, 1)

    def topic(self, purpose: str, *, session: bool = False) -> str:
        """One of its own topics."""
        return f"/{'ext/session' if session else 'sys'}/{self.product}/{self.identity}/{purpose}"

    async def request(self, purpose: str, params: Any, *, session: bool = False, qos: int = 1) -> dict[str, Any]:
        """Ask the hub for something; its answer."""
        topic, seen = self.topic(purpose, session=session), len(self.messages)
        self._number += 1
        id = str(self._number)
        await self.publish(topic, orjson.dumps({"id": id, "version": "1.0", "params": params}), qos)
        await self.until(lambda: self._answer(topic + "_reply", id, seen) is not None or self.closed.is_set())
        answer = self._answer(topic + "_reply", id, seen)
        assert answer is not None, "the hub hung up instead"
        return answer

    def _answer(self, topic: str, id: str, seen: int) -> dict[str, Any] | None:
        for message in self.messages[seen:]:
            if message.topic == topic:
                body: dict[str, Any] = orjson.loads(message.payload)
                if body["id"] == id:
                    return body
        return None

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

    # -- reading --------------------------------------------------------------------------------

    async def _read(self, reader: asyncio.StreamReader, closed: asyncio.Event) -> None:
        decoder = Decoder(1 << 20)
        try:
            while data := await reader.read(65536):
                for packet in decoder.feed(data):
                    await self._take(packet)
        except ConnectionError:
            pass
        finally:
            closed.set()
            self.news.set()

    async def _take(self, packet: Packet) -> None:
        self.received += 1
        match packet:
            case ConnAck():
                self.connack = packet.code
            case PingResp():
                self.pongs += 1
            case PubAck():
                self.acked.append(packet.packet_id)
            case Publish():
                self.messages.append(packet)
                if "/thing/service/" in packet.topic and not packet.topic.endswith("_reply"):
                    await self._command(packet)
        self.news.set()

    async def _command(self, message: Publish) -> None:
        body = orjson.loads(message.payload)
        asked = Asked(self, message.topic, body)
        self.executed.append(asked.call_id)
        self.commands.append((message.topic, body))
        if not self._answers:
            self._asked.put_nowait(asked)
            return
        data: Any = body["params"]
        if message.topic.endswith("/measurepoint/get"):
            data = {point: self.points[point] for point in body["params"] if point in self.points}
        elif message.topic.endswith("/measurepoint/set"):
            self.points.update(body["params"])
            data = None
        await asked.say(orjson.dumps({"id": body["id"], "code": 200, "data": data, "message": ""}))
