"""The hub at a broker: a connection that is made again whenever it is lost, with everything that it listens to.

It counts as up only once a message of its own has come back: by then the broker has sent what it retained, so that
nobody is called before it is known who is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import gmqtt
from gmqtt.mqtt.handler import MQTTConnectError

from adapters.mqtt.broker.client import Client, Message
from adapters.mqtt.broker.place import Place
from hub.ports.adapter import BadRequest, Busy, Delivery, NotConnected, TooLarge
from hub.ports.clock import Clock

T = TypeVar("T")
PAUSE_FIRST = 1.0
STEADY = 10.0
"""Seconds that a connection lasts before the next loss counts as the first one."""
SETTLE = 5.0
"""Seconds in which a message to oneself comes back from a broker that is well."""
BACKLOG = 256 * 1024
RECEIVE = 256
"""Messages with QoS 1 that the broker sends ahead of their acknowledgement (MQTT 5)."""
ROOM = 1024
"""Bytes of a packet beside topic and payload."""
REFUSED = 128

log = logging.getLogger("hub.adapter.mqtt-broker")


@dataclass(frozen=True, slots=True)
class Filter:
    """Something that is listened to. `own`: also what this very connection says; only MQTT 5 can leave that out."""

    topic: str
    qos: int = 1
    own: bool = True


class Link:
    """One lasting connection. `hear` gets the messages; `changed` is called when it is up and when it is not any more.

    `resting` is true between attempts. `echo` is a topic of the link's own; `session` says for how many seconds the
    broker keeps messages while the hub is away, `will` the topic at which the hub tells whether it is there.
    """

    def __init__(
        self, place: Place, clock: Clock, client_id: str, *, filters: Sequence[Filter], echo: str,
        hear: Callable[[Message], None], changed: Callable[[], None], session: int = 0, will: str = "",
    ) -> None:  # fmt: skip
        self.client_id = client_id
        self.up = self.resting = False
        self.trouble = "not connected yet"
        self.losses = 0
        self._place = place
        self._clock = clock
        self._filters = {filter.topic: filter for filter in filters}
        self._echo = echo
        self._hear = hear
        self._changed = changed
        self._session = session
        self._will = will
        self._client: Client | None = None
        self._lost: asyncio.Future[str] | None = None
        self._grants: dict[int, asyncio.Future[tuple[int, ...]]] = {}
        self._joining: dict[str, asyncio.Future[None]] = {}
        self._mark: tuple[bytes, asyncio.Future[None]] | None = None
        self.paused = False
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
            await self._clock.sleep_until(self._clock.monotonic() + pause * self._random.uniform(0.5, 1.5))
            self.resting = False
            pause = min(pause * 2, self._place.pause_most)

    async def close(self) -> None:
        """Sign off, as far as that can be said. The broker forgets a hub that has no lasting name."""
        self._closed = True
        if self.up and self._will:
            with contextlib.suppress(NotConnected):
                self.publish(self._will, b"offline", 1, retain=True)
        await self._drop()

    async def once(self) -> None:
        """Connect, listen to everything, and leave. Raises OSError, ConnectionError, MQTTConnectError."""
        try:
            await self._listen(await self._connect(), list(self._filters.values()))
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
            self.client_id, clean=not self._session, hear=self._message, lost=self._over, granted=self._granted,
            will=will, **properties,
        )  # fmt: skip
        if place.username:
            client.set_auth_credentials(place.username, place.password or None)
        await self._before(
            client.connect(place.host, place.port, ssl=place.tls or False, version=place.version,
                           keepalive=place.keep_alive),
            place.connect_time,
        )  # fmt: skip
        return client

    async def _stay(self) -> None:
        """Connect, listen, and return never: the loss of the connection is raised as ConnectionError."""
        client = await self._connect()
        assert self._lost is not None
        client.pause(self.paused)
        await self._listen(client, list(self._filters.values()))
        await self._settle()
        self.trouble = ""
        self.up = True
        log.info("connected to the broker as %s", self.client_id)
        if self._will:
            self.publish(self._will, b"online", 1, retain=True)
        self._changed()
        while True:
            await self._rest(self._place.keep_alive / 2)
            # While nothing is read on purpose no echo can come, and says nothing of the broker.
            if self._hears_itself and not self.paused and not await self._echoed() and not self.paused:
                raise ConnectionError("the broker does not answer")

    async def _rest(self, seconds: float) -> None:
        """Return after so many seconds; the loss of the connection is raised as ConnectionError."""
        assert self._lost is not None
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_at(self._clock.monotonic() + seconds, _resolve, over)
        try:
            waited: set[asyncio.Future[Any]] = {over, self._lost}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if self._lost.done():
                raise ConnectionError(self._lost.result())
        finally:
            timer.cancel()

    async def _listen(self, client: Client, filters: Sequence[Filter]) -> None:
        if not filters:
            return
        five = self._place.version == 5
        wanted = [gmqtt.Subscription(one.topic, qos=one.qos, no_local=five and not one.own) for one in filters]
        id = client.subscribe(wanted)
        granted = self._grants[id] = asyncio.get_running_loop().create_future()
        try:
            answers = await self._before(granted, self._place.connect_time)
        finally:
            del self._grants[id]
        refused = [one.topic for one, answer in zip(filters, answers, strict=False) if answer >= REFUSED]
        if refused:
            raise ConnectionError(f"the broker does not let the hub listen to {', '.join(refused)}")

    async def _settle(self) -> None:
        """Return when all that the broker has to say at first is heard."""
        assert self._client is not None
        await self._listen(self._client, [Filter(self._echo, 0)])
        self._hears_itself = await self._echoed()
        if not self._hears_itself:
            log.warning("the broker lets nobody hear %s: who is away may be noticed late", self._echo)

    async def _echoed(self) -> bool:
        """Send a message to oneself; whether it came back soon. What the broker sent before is heard by then."""
        assert self._client is not None
        token = secrets.token_bytes(12)
        back: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._mark = token, back
        self._client.send(self._echo, token, 0, False, {})
        timer = self._clock.call_at(self._clock.monotonic() + SETTLE, _resolve, back)
        try:
            await self._before(back, 2 * SETTLE)
            return self._mark is None
        finally:
            timer.cancel()
            self._mark = None

    async def _before(self, wanted: Awaitable[T], seconds: float) -> T:
        """What is wanted, or ConnectionError: after so many seconds, or when the connection is lost before."""
        assert self._lost is not None
        task = asyncio.ensure_future(wanted)
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_at(self._clock.monotonic() + seconds, _resolve, over)
        try:
            waited: set[asyncio.Future[Any]] = {task, over, self._lost}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise ConnectionError(self._lost.result() if self._lost.done() else "the broker does not answer")
        finally:
            timer.cancel()
            over.cancel()
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _drop(self) -> None:
        client, self._client = self._client, None
        was, self.up = self.up, False
        if was:
            self.losses += 1
            self._changed()
        for joining in self._joining.values():
            if not joining.done():
                joining.set_exception(NotConnected("the connection to the broker broke", delivery=Delivery.NOT_SENT))
                joining.exception()
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
        if client.largest is not None and len(payload) + len(topic) + ROOM > client.largest:
            raise TooLarge(f"the broker takes at most {client.largest} bytes", delivery=Delivery.NOT_SENT)
        try:
            client.send(topic, payload, qos, retain, properties)
        except ValueError as error:
            raise BadRequest(str(error), delivery=Delivery.NOT_SENT) from None

    async def join(self, filter: Filter) -> None:
        """Listen to something more, from now on. Raises NotConnected, Busy (NOT_SENT)."""
        while (joining := self._joining.get(filter.topic)) is not None:
            await asyncio.shield(joining)
        if filter.topic in self._filters and self.up:
            return
        client = self._client
        if client is None or not self.up:
            raise NotConnected("there is no connection to the broker", delivery=Delivery.NOT_SENT)
        done = self._joining[filter.topic] = asyncio.get_running_loop().create_future()
        try:
            await self._listen(client, [filter])
            self._filters[filter.topic] = filter
        except ConnectionError as error:
            raise NotConnected(str(error), delivery=Delivery.NOT_SENT) from None
        except OverflowError:
            raise Busy("the broker is asked too much at a time", delivery=Delivery.NOT_SENT) from None
        finally:
            del self._joining[filter.topic]
            if not done.done():
                done.set_result(None)

    def hears(self, topic: str) -> bool:
        """Whether this filter is one of those that it listens to."""
        return topic in self._filters

    def pause(self, paused: bool) -> None:
        """Read nothing more, or go on; it stays so over connections."""
        self.paused = paused
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
        if self._mark is not None and message.topic == self._echo and message.payload == self._mark[0]:
            back, self._mark = self._mark[1], None
            _resolve(back)
        else:
            self._hear(message)

    def _granted(self, id: int, answers: tuple[int, ...]) -> None:
        granted = self._grants.get(id)
        if granted is not None and not granted.done():
            granted.set_result(answers)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
