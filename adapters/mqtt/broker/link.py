"""The hub at a broker: a connection that is made again whenever it is lost, with everything that it listens to.

It counts as up only once a message of its own has come back: by then the broker has sent what it retained, so that
nobody is called before it is known who is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import gmqtt
from gmqtt.mqtt.handler import MQTTConnectError

from adapters.mqtt.broker.bell import Bell
from adapters.mqtt.broker.book import Book
from adapters.mqtt.broker.bounded import Silent, at_most, before
from adapters.mqtt.broker.client import Client, Message, PacketTooLarge
from adapters.mqtt.broker.echo import SETTLE, Echo
from adapters.mqtt.broker.filter import Filter
from adapters.mqtt.broker.patience import Patience
from adapters.mqtt.broker.place import Place
from adapters.mqtt.broker.subscriptions import Subscriptions
from hub.ports.adapter import BadRequest, Delivery, NotConnected, TooLarge
from hub.ports.clock import Clock

T = TypeVar("T")
PAUSE_FIRST = 1.0
STEADY = 10.0
"""Seconds that a connection lasts before the next loss counts as the first one."""
LOOK = 0.5
BACKLOG = 256 * 1024
RECEIVE = 256
"""Messages with QoS 1 that the broker sends ahead of their acknowledgement (MQTT 5)."""

log = logging.getLogger("hub.adapter.mqtt-broker")


class Link:
    """One lasting connection. `hear` gets the messages; `changed` is called when it is up and when it is not any more.

    `resting` is true between attempts. `echo` is a topic of the link's own, and beside it a lasting session is written
    down; `session` says for how many seconds the broker keeps messages while the hub is away, `will` the topic at which
    the hub tells whether it is there. `adopts` knows filters of an earlier life that calls may need again. `resumed` is
    told of each connection, before anything is heard by it, whether the broker still had the session: what was not
    acknowledged comes again then.
    """

    def __init__(
        self, place: Place, clock: Clock, client_id: str, *, filters: Sequence[Filter], echo: str,
        hear: Callable[[Message], None], changed: Callable[[], None], session: int = 0, will: str = "",
        adopts: Callable[[str], bool] = lambda topic: False, resumed: Callable[[bool], None] = lambda there: None,
    ) -> None:  # fmt: skip
        self.client_id = client_id
        self.up = self.resting = False
        self.trouble = "not connected yet"
        self.losses = 0
        self._place = place
        self._clock = clock
        self._listening = Subscriptions(
            filters, self._before, place.connect_time, five=place.version == 5, adopts=adopts
        )
        self._echo = Echo(echo, self._to_itself, self._before)
        # Only a session that lasts listens to anything of old.
        book = f"{echo}-filters" if echo and session else ""
        self._book = Book(book, self._listening, self._echo, self._keep)
        self.resumed = False
        """Whether the broker still had the session of this connection."""
        self._resumed, self._patience = resumed, Patience(clock)
        self._hear, self._changed = hear, changed
        self._hurry, self._news = Bell(clock), Bell(clock)
        self._session, self._will = session, will
        self._client: Client | None = None
        self._lost: asyncio.Future[str] | None = None
        self._closed = False
        self._hears_itself = True
        self._random = random.Random()

    # -- life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Be connected until `close`; ends soon after it."""
        pause = PAUSE_FIRST
        while True:
            since = self._clock.monotonic()
            try:
                await self._stay()
            except (OSError, MQTTConnectError) as error:
                self._say(str(error) or type(error).__name__)
            except Exception:
                # Whatever the library makes of what a broker sends: the hub tries again.
                log.exception("the connection to the broker failed")
            finally:
                await self._drop()
            if self._closed:
                return
            if self._clock.monotonic() - since >= STEADY:
                pause = PAUSE_FIRST
            self.resting = True
            await self._hurry.rung(self._clock.monotonic() + pause * self._random.uniform(0.5, 1.5))
            self.resting = False
            pause = min(pause * 2, self._place.pause_most)

    def hurry(self) -> None:
        """The broker is there, as another connection shows: between attempts, the next one is made now."""
        self._hurry.ring()

    async def close(self) -> None:
        """Sign off, as far as that can be said. The broker forgets a hub that has no lasting name."""
        self._closed = True
        if self.up and self._will:
            with contextlib.suppress(NotConnected):
                self.publish(self._will, b"offline", 1, retain=True)
        await self._drop()

    async def withdraw(self, idle: Callable[[], Awaitable[int]], within: float) -> None:
        """Listen to nothing any more, and return when all is dealt with that the broker had sent by then, or after so
        many seconds. `idle` returns when nothing is left to deal with of what was heard, with how much that was."""
        if self._client is not None and self._lost is not None and self.up:
            with contextlib.suppress(ConnectionError, OverflowError):
                await before(self._lost, self._clock, self._withdrawn(self._client, idle), within)

    async def _withdrawn(self, client: Client, idle: Callable[[], Awaitable[int]]) -> None:
        await self._listening.leave(client, [filter.topic for filter in self._listening.filters])
        heard = -1
        # What is acknowledged makes room for more that the broker has for the hub: until an echo comes alone.
        while heard != (now := await idle()) and self._hears_itself:
            heard = now
            await self._echo.back()

    async def once(self) -> None:
        """Connect, listen to everything, and leave. Raises OSError, ConnectionError, MQTTConnectError."""
        try:
            await self._listening.listen(await self._connect(), self._listening.filters)
        finally:
            await self._drop()

    async def _connect(self) -> Client:
        place = self._place
        self._lost = asyncio.get_running_loop().create_future()
        properties: dict[str, Any] = {}
        if place.version == 5:
            properties = {"session_expiry_interval": self._session, "receive_maximum": RECEIVE}
            properties["maximum_packet_size"] = place.max_packet
        will = gmqtt.Message(self._will, b"offline", qos=1, retain=True) if self._will else None
        client = self._client = Client(
            self.client_id, clean=not self._session, hear=self._message, lost=self._over,
            granted=self._listening.answered, let_in=self._let_in, will=will, **properties,
        )  # fmt: skip
        if place.username:
            client.set_auth_credentials(place.username, place.password or None)
        await before(
            self._lost, self._clock,
            client.connect(place.host, place.port, ssl=place.tls or False, version=place.version,
                           keepalive=place.keep_alive),
            place.connect_time, lambda: self._patience.heard_at,
        )  # fmt: skip
        return client

    def _let_in(self, resumed: bool) -> None:
        self.resumed = resumed
        self._patience.heard()
        self._resumed(resumed)
        # Else what the broker sends right behind its word would be read, however much waits already.
        if self._client is not None:
            self._client.pause(self.paused)

    async def _stay(self) -> None:
        """Connect, listen, and return never: the loss of the connection is raised as ConnectionError."""
        client = await self._connect()
        await self._listening.listen(client, [Filter(self._echo.topic, 0)])
        await self._book.tidy(client, self.resumed)
        await self._listening.listen(client, self._listening.filters)
        # When all is heard that the broker has to say at first:
        self._hears_itself = await self._echo.back()
        if not self._hears_itself:
            log.warning("the broker lets nobody hear %s: who is away may be noticed late", self._echo.topic)
        self.trouble = ""
        self.up = True
        log.info("connected to the broker as %s", self.client_id)
        if self._will:
            self.publish(self._will, b"online", 1, retain=True)
        self._news.ring()
        self._changed()
        while True:
            await self._rest(self._place.keep_alive / 2)
            if self._hears_itself and not await self._echo.back() and self._patience.over(SETTLE):
                raise ConnectionError("the broker does not answer")

    def _keep(self, topic: str, payload: bytes) -> None:
        with contextlib.suppress(NotConnected, TooLarge):
            self.publish(topic, payload, retain=True)

    def _to_itself(self, topic: str, payload: bytes) -> None:
        client = self._client
        if client is None or not client.open:
            raise ConnectionError("the connection broke")
        client.send(topic, payload, 0, False, {})

    async def _rest(self, seconds: float) -> None:
        """Return after so many seconds; the loss of the connection is raised as ConnectionError."""
        assert self._lost is not None
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with contextlib.suppress(Silent):
            await before(self._lost, self._clock, never, seconds)

    async def _before(self, wanted: Awaitable[T], seconds: float, again: Callable[[], None] | None = None) -> T:
        assert self._lost is not None
        return await self._patience.answer(self._lost, wanted, seconds, again)

    async def _drop(self) -> None:
        client, self._client = self._client, None
        was, self.up = self.up, False
        if was:
            self.losses += 1
            self._news.ring()
            self._changed()
        self._listening.lost()
        if client is None:
            return
        timer = self._clock.call_at(self._clock.monotonic() + 1.0, client.abort)
        if client.backlog > 0:
            client.abort()  # a broker that does not read would keep us here, and get stale commands afterwards
        try:
            with contextlib.suppress(OSError, AttributeError):
                await client.disconnect()
        finally:
            timer.cancel()

    def _over(self, why: str) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(why)

    def _say(self, why: str) -> None:
        if why != self.trouble and not self._closed:
            log.warning("no connection to the broker: %s", why)
        self.trouble = why

    # -- use ------------------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """Whether the broker takes what it is sent."""
        return self.up and self._client is not None and self._client.backlog < BACKLOG

    def publish(
        self, topic: str, payload: bytes, qos: int = 0, *, retain: bool = False, properties: Mapping[str, Any] = {}
    ) -> None:
        """Send a message now. Raises NotConnected, TooLarge, BadRequest (NOT_SENT)."""
        client = self._client
        if client is None or not client.open:
            raise NotConnected("there is no connection to the broker", delivery=Delivery.NOT_SENT)
        try:
            client.send(topic, payload, qos, retain, properties)
        except PacketTooLarge as error:
            raise TooLarge(str(error), delivery=Delivery.NOT_SENT) from None
        except ValueError as error:
            raise BadRequest(str(error), delivery=Delivery.NOT_SENT) from None

    async def join(self, filter: Filter) -> None:
        """Listen to something more, from now on. Raises NotConnected, Busy (NOT_SENT)."""
        await self._listening.join(self._client if self.up else None, filter, self._book.write)

    def need(self, topic: str) -> None:
        """A call needs what comes by this filter, until `spare`: it is listened to for so long once it is joined."""
        self._listening.need(topic)

    def spare(self, topic: str) -> None:
        """The call is over."""
        self._listening.spare(topic)

    def hears(self, topic: str) -> bool:
        """Whether this filter is one of those that it listens to."""
        return topic in self._listening and not self._listening.joining(topic)

    @property
    def filters(self) -> int:
        """How many filters it listens to."""
        return len(self._listening)

    async def caught_up(self, within: float | None = None) -> None:
        """Return when all is heard that the broker has sent on this connection by now; soon, where nobody can tell.

        While the connection is away, or nothing is read on purpose, that is waited for: for so many seconds at most if
        they are given. It ends with its caller only, so that nobody takes the end of the hub for news.
        """
        until = None if within is None else self._clock.monotonic() + within
        while True:
            if self._reads and (not self._hears_itself or await self._passed(until)) and self._reads:
                return
            if self._reads:
                await self._news.rung(self._clock.monotonic() + LOOK)  # it is lost, which rings in a moment
            elif not await self._news.rung(until):
                return

    @property
    def _reads(self) -> bool:
        return self.up and not self.paused

    async def _passed(self, until: float | None) -> bool:
        try:
            await at_most(self._clock, until, self._echo.passed())  # when the time is up it is as good as passed
        except ConnectionError:
            return False
        return True

    @property
    def paused(self) -> bool:
        """Whether nothing is read on purpose."""
        return self._patience.paused

    def pause(self, paused: bool) -> None:
        """Read nothing more, or go on; it stays so over connections."""
        self._patience.pause(paused)
        self._news.ring()
        if self._client is not None:
            self._client.pause(paused)

    @property
    def written(self) -> int:
        """How much was sent on this connection, counted in bytes: a place for `purge`."""
        return 0 if self._client is None else self._client.written

    def purge(self, place: int) -> None:
        """What was sent up to this place shall not go out any more. If the broker has not taken it by now, it is not
        reading: the connection is given up, with everything that waits in it."""
        if self._client is not None and self._client.written - self._client.backlog < place:
            self._client.abort()

    def cut(self) -> None:
        """Lose the connection without a word."""
        if self._client is not None:
            self._client.abort()

    # -- in -------------------------------------------------------------------------------------

    def _message(self, message: Message) -> None:
        self._patience.heard()
        if message.topic == self._echo.topic:
            self._echo.hear(message.topic, message.payload)  # one that was said again may be heard late
            message.acknowledge()
        elif message.topic == self._book.topic:
            self._book.hear(message.payload)
            message.acknowledge()
        else:
            self._hear(message)
