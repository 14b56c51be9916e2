"""A device that dials in, as a double: a real client on a real socket, with switches for what devices do wrong.

It keeps the protocol's promise to execute a call at most once: 64 answers are remembered for five minutes in each of
its lives, and a call that comes again is answered from that memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol as Offered

from adapters.websocket.coding import Subprotocol
from adapters.websocket.frame import (
    Ack,
    Bye,
    Call,
    Cancel,
    Error,
    Event,
    Frame,
    Hello,
    Notify,
    Observe,
    Ping,
    Pong,
    Result,
    Welcome,
)
from adapters.websocket.wire import decode, encode
from hub.ports.clock import Clock

REMEMBERED = 64
FOR_SECONDS = 300.0
PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that reached the device and that it was told not to answer by itself."""

    double: DeviceDouble
    frame: Call

    @property
    def call_id(self) -> str:
        """Which call it is."""
        return self.frame.id.rpartition(".")[0]

    async def answer(self, payload: bytes = b"", status: int = 200, sender: DeviceDouble | None = None) -> None:
        """Answer it, as `sender` if another device is to do so."""
        result = Result(self.frame.id, status, payload, "text/plain")
        if sender is None:
            self.double.remember(result)
        await (sender or self.double).send(result)


class DeviceDouble:
    """One device. `received` counts the frames that the hub sent to it, `executed` lists the calls it carried out."""

    def __init__(
        self, uri: str, identity: str, coding: Subprotocol, clock: Clock, *, key: str | None = None,
        secret: str | None = None, win: int | None = None, links: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        self.identity = identity
        self.address = f"at/{identity}"
        self.executed: list[str] = []
        self.received = 0
        self.unanswered: list[Call] = []
        self.cancelled: list[str] = []
        self.acked: list[int] = []
        self.welcome: Welcome | None = None
        self.bye: Bye | None = None
        self.close_code: int | None = None
        self.mute = False
        self.pongs = 0
        self.life = 0
        self.observing: dict[str, tuple[str, int]] = {}
        self.closed = asyncio.Event()
        self.news = asyncio.Event()
        self._uri = uri
        self._coding = coding
        self._clock = clock
        self._key = key
        self._secret = secret
        self._win = win
        self._links = tuple(links) if links is not None else None
        self._answers = True
        self._asked: asyncio.Queue[Asked] = asyncio.Queue()
        self._memory: OrderedDict[str, tuple[float, Frame]] = OrderedDict()
        self._seq = 0
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self.refused_targets = {"/plain": 405}

    # -- connection -----------------------------------------------------------------------------

    async def connect(self) -> Welcome:
        """Dial in and say hello; returns the hub's welcome. Raises ConnectionClosed when the hub hangs up instead."""
        resume = self.welcome.sid if self.welcome is not None else None
        self.welcome, self.bye, self.close_code = None, None, None
        await self.dial()
        auth = {"secret": self._secret} if self._secret is not None else {}
        await self.send(Hello(self.identity, f"boot-{self.life}", auth, self._win, self._links, resume))
        async with asyncio.timeout(PATIENCE):
            while self.welcome is None and not self.closed.is_set():
                self.news.clear()
                await self.news.wait()
        if self.welcome is None:
            raise ConnectionError(f"closed with {self.close_code}")
        welcome: Welcome = self.welcome
        return welcome

    async def dial(self) -> None:
        """Open the socket, and read it, without a hello."""
        self.closed = asyncio.Event()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key is not None else {}
        self._socket = await connect(
            self._uri, subprotocols=[Offered(self._coding.value)], compression=None, proxy=None,
            ping_interval=None, additional_headers=headers, max_size=None, close_timeout=1,
        )
        self._reader = asyncio.get_running_loop().create_task(self._read(self._socket, self.closed))

    async def drop(self) -> None:
        """Be gone without a word."""
        if self._socket is not None:
            self._socket.transport.abort()
        await self.gone()

    async def close(self) -> None:
        """Hang up politely and leave no task."""
        if self._socket is not None:
            await self._socket.close()
        await self.gone()

    async def gone(self) -> None:
        """Return when the connection is over."""
        if self._reader is not None:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None
        self._socket = None

    async def reconnect(self) -> None:
        """Dial in again, in the same life."""
        await self.connect()

    async def restart(self) -> None:
        """Begin another life: nothing is remembered, nothing observed."""
        await self.drop()
        self.life += 1
        self._seq = 0
        self._memory.clear()
        self.observing.clear()
        await self.connect()

    async def send(self, frame: Frame) -> None:
        """Send a frame."""
        await self.send_raw(encode(frame, self._coding))

    async def send_raw(self, data: bytes, *, text: bool | None = None) -> None:
        """Send a message, as text where the coding is text, or as told."""
        assert self._socket is not None
        await self._socket.send(data, text=(not self._coding.binary) if text is None else text)

    async def settle(self) -> None:
        """Return when the hub has dealt with all that was sent: it answers what follows, or has hung up."""
        before = self.pongs
        with contextlib.suppress(ConnectionClosed):
            await self.send(Ping(before))
        await self.until(lambda: self.pongs > before or self.closed.is_set())

    # -- switches -------------------------------------------------------------------------------

    def hold(self) -> None:
        """Answer nothing by itself from now on."""
        self._answers = False

    def go(self) -> None:
        """Answer with what it is given, at once."""
        self._answers = True

    async def asked(self) -> Asked:
        """The next call that reached the device while it holds."""
        async with asyncio.timeout(PATIENCE):
            return await self._asked.get()

    async def forge(self) -> None:
        """Answer calls that were never asked."""
        for token in ("never-asked", "0197-no-such-call.0123456789ab", "x." + "f" * 12):
            await self.send(Result(token, 200, b"forged"))

    async def update(self) -> None:
        """Renew the registration, with other links."""
        await self.send(self._event("update", links=({"path": "/other"},)))

    async def leave(self) -> None:
        """Sign off."""
        await self.send(self._event("deregister"))
        await self.gone()

    async def sleep(self) -> None:
        """Fall asleep, with the connection left open."""
        await self.send(self._event("asleep"))

    async def wake(self) -> None:
        """Wake up."""
        await self.send(self._event("awake"))

    async def event(self, kind: str = "measured", payload: bytes = b"1") -> int:
        """Tell of something; returns its number."""
        frame = self._event(kind, payload)
        await self.send(frame)
        return frame.seq

    async def notify(self, values: Sequence[bytes]) -> None:
        """Notify every observation of these values, one after the other."""
        for value in values:
            for token, (target, seq) in list(self.observing.items()):
                self.observing[token] = (target, seq + 1)
                await self.send(Notify(token, seq + 1, value, "text/plain"))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once a condition on what the device got holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.news.clear()
                await self.news.wait()

    @property
    def observed(self) -> int:
        """How many observations it keeps."""
        return len(self.observing)

    def remember(self, result: Result) -> None:
        """Keep an answer for the time when its call comes again."""
        if result.retry_after is None:
            self._memory[result.id] = (self._clock.monotonic(), result)
            if len(self._memory) > REMEMBERED:
                self._memory.popitem(last=False)

    # -- reading --------------------------------------------------------------------------------

    async def _read(self, socket: ClientConnection, closed: asyncio.Event) -> None:
        try:
            async for message in socket:
                await self._take(decode(message, self._coding))
        except ConnectionClosed:
            pass
        finally:
            self.close_code = socket.close_code
            closed.set()
            self.news.set()

    async def _take(self, frame: Frame) -> None:
        self.received += 1
        match frame:
            case Welcome():
                self.welcome = frame
                if not frame.resumed:
                    self.observing.clear()
            case Call():
                await self._call(frame)
            case Observe():
                await self._observe(frame)
            case Cancel():
                self.cancelled.append(frame.id)
                self.observing.pop(frame.id, None)
            case Ack():
                self.acked.append(frame.seq)
            case Ping():
                if not self.mute:
                    await self._reply(Pong(frame.n))
            case Pong():
                self.pongs += 1
            case Bye():
                self.bye = frame
        self.news.set()

    async def _call(self, frame: Call) -> None:
        known = self._memory.get(frame.id)
        if known is not None and self._clock.monotonic() - known[0] <= FOR_SECONDS:
            await self._reply(known[1])
            return
        self.executed.append(frame.id.rpartition(".")[0])
        if frame.options.get("noresp"):
            self.unanswered.append(frame)
            return
        if not self._answers:
            self._asked.put_nowait(Asked(self, frame))
            return
        payload = frame.target.encode() if frame.method == "GET" else frame.payload
        result = Result(frame.id, 200, payload, frame.options.get("ct", "text/plain"))
        self.remember(result)
        await self._reply(result)

    async def _observe(self, frame: Observe) -> None:
        refusal = self.refused_targets.get(frame.target)
        if refusal is not None:
            await self._reply(Error(frame.id, refusal, "cannot be observed"))
            return
        self.observing[frame.id] = (frame.target, 0)
        await self._reply(Result(frame.id, 200, b"0", "text/plain"))

    async def _reply(self, frame: Frame) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self.send(frame)

    def _event(self, kind: str, payload: bytes = b"", links: tuple[dict[str, Any], ...] | None = None) -> Event:
        self._seq += 1
        event = Event(self._seq, kind, payload)
        return event if links is None else replace(event, links=links)
