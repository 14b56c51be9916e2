"""An LwM2M device as a double: registers, executes, observes and sends, over a link that may be a bad one.

It keeps CoAP's promise to execute a message once, whatever is repeated. Switches make it slow to answer, mute, or
answer separately; what it carried out it can be asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adapters.lwm2m import codec, content
from adapters.lwm2m.block import Block, block_of
from adapters.lwm2m.codec import ACK, CON, EMPTY, NON, RST, Malformed, Message, decode, encode
from adapters.lwm2m.double_requests import Requests
from adapters.lwm2m.endpoint import Endpoint
from adapters.lwm2m.exchange import EXCHANGE_LIFETIME, Peer
from adapters.lwm2m.generations import Generations
from adapters.lwm2m.option import (
    BLOCK1,
    BLOCK2,
    CONTENT_FORMAT,
    LOCATION_PATH,
    OBSERVE,
    number,
    path_of,
    uint,
)
from hub.ports.clock import Clock

OBSERVABLE = "/observable"
PLAIN = "/plain"
LINKS = '</>;rt="oma.lwm2m",</observable>;obs,</plain>,</1/0>,</3/0>'
PATIENCE = 5.0
_BLOCK = 6


class Refused(Exception):
    """The hub refused what the device asked; carries the reply."""

    def __init__(self, reply: Message) -> None:
        super().__init__(codec.code_text(reply.code))
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that reached the device and that it was told not to answer by itself."""

    double: DeviceDouble
    message: Message
    call_id: str

    async def answer(self, payload: bytes = b"", status: int = 200, sender: DeviceDouble | None = None) -> None:
        """Answer it, as `sender` if another device is to do so."""
        code = codec.CHANGED if status == 200 else (status // 100) << 5 | status % 100
        reply = Message(ACK, code, self.message.mid, self.message.token, [(CONTENT_FORMAT, b"")], payload)
        (sender or self.double).transmit(reply)


class DeviceDouble:
    """One device. `executed` lists the calls that it carried out, `received` counts the requests that it got once."""

    def __init__(
        self, identity: str, endpoint: Endpoint, hub: Peer, clock: Clock,
        call_of: Callable[[bytes], str] = lambda token: token.hex(), *, links: str = LINKS, lifetime: int = 3600,
        binding: str = "U",
    ) -> None:
        self.identity = self.address = identity
        self.executed: list[str] = []
        self.received = 0
        self.acked: list[int] = []
        self.closed = asyncio.Event()
        self.observing: dict[bytes, tuple[str, int]] = {}
        self.news = asyncio.Event()
        self.location: tuple[str, ...] = ()
        self.separate = False
        self.confirms = False
        self.links = links
        self.lifetime = lifetime
        self.binding = binding
        self.answers: Callable[[Message, bytes], Message] | None = None
        self._hub = hub
        self._clock = clock
        self._call_of = call_of
        self._endpoint = endpoint
        self._holds = False
        self._asked: asyncio.Queue[Asked] = asyncio.Queue()
        self._requests = Requests(clock, self.transmit, self._next_mid)
        self._seen: Generations[int, bytes] = Generations(EXCHANGE_LIFETIME, 4096)
        self._uploads: dict[tuple[str, ...], bytearray] = {}
        self._served: dict[tuple[str, ...], Message] = {}
        self._value = b"0"
        self._order = 0
        self._events = 0
        self._mid = 0
        endpoint.open(self._heard)

    # -- what it does of itself -----------------------------------------------------------------

    async def register(self, *more: str) -> None:
        """Register, in a life that has no observations yet. Raises Refused."""
        self.observing.clear()
        query = [f"ep={self.identity}", f"lt={self.lifetime}", "lwm2m=1.1", f"b={self.binding}", *more]
        reply = await self.request(codec.POST, ("rd",), query, self.links.encode(), content.LINK)
        if reply.code != codec.CREATED:
            raise Refused(reply)
        self.location = tuple(piece.decode() for piece in reply.all(LOCATION_PATH))

    async def update(self, *query: str) -> None:
        """Renew the registration. Raises Refused."""
        reply = await self.request(codec.POST, self.location, list(query))
        if reply.code != codec.CHANGED:
            raise Refused(reply)

    async def leave(self) -> None:
        """Deregister. Raises Refused."""
        reply = await self.request(codec.DELETE, self.location)
        if reply.code != codec.DELETED:
            raise Refused(reply)

    async def drop(self) -> None:
        """Be gone: a device on datagrams can only say so, or be silent."""
        await self.leave()

    async def reconnect(self) -> None:
        """Be back."""
        if self.closed.is_set():
            self.closed.clear()
        else:
            await self.register()

    async def restart(self) -> None:
        """Begin another life."""
        await self.register()

    def ping(self) -> None:
        """Say nothing but that it is there."""
        self.transmit(Message(CON, EMPTY, self._next_mid()))

    async def event(self, payload: bytes = b"") -> int:
        """Send a value by itself; `acked` has its number when the hub holds it, `closed` is set when it could not."""
        self._events += 1
        order = self._events
        body = b'[{"n":"/event/0","vs":"%s"}]' % payload
        future = self._requests.begin(codec.POST, ("dp",), [], body, content.SENML_JSON)
        future.add_done_callback(lambda done: self._event_over(done, order))
        return order

    def _event_over(self, done: asyncio.Future[Message], order: int) -> None:
        if done.cancelled():
            return
        if done.result().code == codec.CHANGED:
            self.acked.append(order)
        else:
            self.closed.set()
        self.news.set()

    async def notify(self, values: Sequence[bytes]) -> None:
        """Let the observable resource take these values, one after the other."""
        for value in values:
            self._value = value
            self._order += 1
            for token, (_, _) in list(self.observing.items()):
                options = [(OBSERVE, uint(self._order & 0xFFFFFF)), (CONTENT_FORMAT, b"")]
                kind = CON if self.confirms else NON
                self.transmit(Message(kind, codec.CONTENT, self._next_mid(), token, options, value))

    async def request(
        self, code: int, path: Sequence[str], query: Sequence[str] = (), payload: bytes = b"", form: int | None = None
    ) -> Message:
        """Ask the hub, repeating the question as CoAP does. Raises TimeoutError after five real seconds."""
        async with asyncio.timeout(PATIENCE):
            return await self._requests.begin(code, path, query, payload, form)

    # -- what a test tells it -------------------------------------------------------------------

    def hold(self) -> None:
        """Answer nothing by itself from now on."""
        self._holds = True

    def go(self) -> None:
        """Answer with what it is given, at once."""
        self._holds = False

    async def asked(self) -> Asked:
        """The next call that reached the device while it holds."""
        async with asyncio.timeout(PATIENCE):
            return await self._asked.get()

    async def forge(self) -> None:
        """Answer what was never asked."""
        for token in (b"", b"\x01", b"forged!!"):
            self.transmit(Message(ACK, codec.CONTENT, 4711, token, [], b"forged"))
            self.transmit(Message(NON, codec.CONTENT, self._next_mid(), token, [], b"forged"))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once a condition on what the device knows holds; fails after five real seconds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.news.clear()
                await self.news.wait()

    @property
    def observed(self) -> int:
        """How many observations it keeps."""
        return len(self.observing)

    def transmit(self, message: Message) -> None:
        """Send a message as it is."""
        self._endpoint.send(encode(message), self._hub)

    async def send_raw(self, data: bytes, *, text: bool = False) -> None:
        """Send bytes as they are."""
        self._endpoint.send(data, self._hub)

    def move(self, endpoint: Endpoint) -> None:
        """Be at another port from now on, as behind an address translator."""
        self._endpoint.close()
        self._endpoint = endpoint
        endpoint.open(self._heard)

    def close(self) -> None:
        """Be gone without a word."""
        self._requests.cancel()
        self._endpoint.close()

    # -- what comes -----------------------------------------------------------------------------

    def _heard(self, data: bytes, peer: Peer) -> None:
        try:
            message = decode(data)
        except Malformed:
            return
        if message.is_request:
            self._asked_for(message)
        elif message.is_response:
            self._replied(message)
        elif message.kind == RST:
            # The hub wants none of the last notification's observation.
            self.observing.clear()
        self.news.set()

    def _replied(self, message: Message) -> None:
        if message.kind == CON:
            self.transmit(Message(ACK, EMPTY, message.mid))
        self._requests.replied(message)

    def _asked_for(self, message: Message) -> None:
        seen = self._seen.get(message.mid)
        if seen is not None:
            if seen:
                self._endpoint.send(seen, self._hub)
            return
        self._seen.put(message.mid, b"", self._clock.monotonic())
        path = path_of(message)
        later = block_of(message.first(BLOCK2))
        if later is not None and later.number and path in self._served:
            self._reply(message, self._block(self._served[path], later))
            return
        payload = message.payload
        block = block_of(message.first(BLOCK1))
        if block is not None:
            upload = self._uploads.setdefault(path, bytearray()) if block.number else bytearray()
            self._uploads[path] = upload
            upload += payload
            if block.more:
                self._reply(message, Message(ACK, codec.CONTINUE, 0, b"", [(BLOCK1, block.encode())]))
                return
            payload = bytes(self._uploads.pop(path))
        self.received += 1
        observe = number(message.first(OBSERVE))
        if observe is not None:
            self._observe(message, "/" + "/".join(path), observe)
            return
        call = self._call_of(message.token)
        self.executed.append(call)
        if self._holds:
            self._asked.put_nowait(Asked(self, message, call))
            return
        if self.answers is not None:
            self._reply(message, self.answers(message, payload))
            return
        form = message.first(CONTENT_FORMAT)
        options = [(CONTENT_FORMAT, uint(content.OPAQUE) if form is None else form)]
        code = codec.CONTENT if message.code in (codec.GET, codec.FETCH) else codec.CHANGED
        self._reply(message, Message(ACK, code, 0, b"", options, payload))

    def _observe(self, message: Message, path: str, observe: int) -> None:
        if path == PLAIN:
            self._reply(message, Message(ACK, codec.METHOD_NOT_ALLOWED, 0))
            return
        options = [(CONTENT_FORMAT, b"")]
        if observe == 0:
            self._order += 1
            self.observing[message.token] = (path, self._order)
            options = [(OBSERVE, uint(self._order)), *options]
        else:
            self.observing.pop(message.token, None)
        self._reply(message, Message(ACK, codec.CONTENT, 0, b"", options, self._value))

    def _reply(self, to: Message, reply: Message) -> None:
        if len(reply.payload) > 16 << _BLOCK:
            self._served[path_of(to)] = reply
            reply = self._block(reply, Block(0, True, _BLOCK))
        if self.separate:
            self._endpoint.send(encode(Message(ACK, EMPTY, to.mid)), self._hub)
            answer = Message(CON, reply.code, self._next_mid(), to.token, reply.options, reply.payload)
            data = encode(answer)
            self._seen.change(to.mid, data)
        else:
            data = encode(Message(ACK, reply.code, to.mid, to.token, reply.options, reply.payload))
            self._seen.change(to.mid, data)
        self._endpoint.send(data, self._hub)

    @staticmethod
    def _block(whole: Message, wanted: Block) -> Message:
        part = whole.payload[wanted.start : wanted.start + wanted.size]
        block = Block(wanted.number, wanted.start + wanted.size < len(whole.payload), wanted.exponent)
        return Message(ACK, whole.code, 0, b"", [*whole.options, (BLOCK2, block.encode())], part)

    def _next_mid(self) -> int:
        self._mid = (self._mid + 1) & 0xFFFF
        return self._mid
