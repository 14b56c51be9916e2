"""What a connection listens to: always, and for as long as calls need it; told to the broker in portions.

A broker keeps the subscriptions of a lasting session, and tells nobody which they are. So they are written down there
as well, retained on a topic of the hub's own: what is not wanted any more is given up when the hub comes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

import orjson

from adapters.mqtt.broker.bounded import Bounded
from adapters.mqtt.broker.client import Client
from adapters.mqtt.broker.filter import Filter
from adapters.mqtt.broker.pattern import is_filter
from hub.ports.adapter import Busy, Delivery, NotConnected

MOST_JOINED = 200
"""Filters that are listened to for calls; the one that was needed longest ago makes room for another."""
PORTION, PORTION_BYTES = 50, 4096
"""Filters in a packet, and their bytes: brokers bound a packet's size, and those of 3.1.1 do not say how."""
MOST_WRITTEN, MOST_READ = 16 * 1024, 1000
REFUSED = 128

log = logging.getLogger("hub.adapter.mqtt-broker")


class NotLet(ConnectionError):
    """The broker answered that the hub may not listen there."""


class Subscriptions:
    """`filters` are listened to always; `adopts` tells of a filter that calls may need again."""

    def __init__(
        self, filters: Sequence[Filter], before: Bounded, seconds: float, *, five: bool,
        adopts: Callable[[str], bool] = lambda topic: False,
    ) -> None:  # fmt: skip
        self._always = {filter.topic: filter for filter in filters}
        self._before = before
        self._seconds = seconds
        self._five = five
        self._adopts = adopts
        self._joined: OrderedDict[str, Filter] = OrderedDict()
        self._joining: dict[str, asyncio.Future[None]] = {}
        self._needed: Counter[str] = Counter()
        self._answers: dict[int, asyncio.Future[tuple[int, ...]]] = {}

    def __contains__(self, topic: str) -> bool:
        return topic in self._always or topic in self._joined

    def __len__(self) -> int:
        return len(self._always) + len(self._joined)

    @property
    def filters(self) -> list[Filter]:
        """All that is listened to."""
        return [*self._always.values(), *self._joined.values()]

    # -- with the broker ------------------------------------------------------------------------

    def answered(self, id: int, answers: tuple[int, ...]) -> None:
        """The broker answered to a packet."""
        answer = self._answers.get(id)
        if answer is not None and not answer.done():
            answer.set_result(answers)

    async def listen(self, client: Client, filters: Sequence[Filter]) -> None:
        """Listen to these. Raises ConnectionError, NotLet where the broker refuses what is needed; OverflowError."""
        for portion in _portions(filters):
            wanted = [(one.topic, one.qos, self._five and not one.own) for one in portion]
            answers = await self._answer(client.listen(wanted))
            refused = [one for one, answer in zip(portion, answers, strict=False) if answer >= REFUSED]
            if needed := [one.topic for one in refused if not one.optional]:
                raise NotLet(f"the broker does not let the hub listen to {', '.join(needed)}")
            if refused:
                log.warning("the broker does not let the hub listen to %s: whoever asks there has no answer",
                            ", ".join(one.topic for one in refused))  # fmt: skip

    async def leave(self, client: Client, topics: Sequence[str]) -> None:
        """Listen to these no more. Raises ConnectionError, OverflowError."""
        for portion in _portions([Filter(topic) for topic in topics]):
            await self._answer(client.leave([one.topic for one in portion]))

    async def _answer(self, id: int) -> tuple[int, ...]:
        answer = self._answers[id] = asyncio.get_running_loop().create_future()
        try:
            return await self._before(answer, self._seconds)
        finally:
            del self._answers[id]

    # -- for calls ------------------------------------------------------------------------------

    def need(self, topic: str) -> None:
        """A call needs this one from now on."""
        self._needed[topic] += 1
        if topic in self._joined:
            self._joined.move_to_end(topic)

    def spare(self, topic: str) -> None:
        """It needs it no more."""
        self._needed[topic] -= 1
        if self._needed[topic] <= 0:
            del self._needed[topic]

    async def join(self, client: Client | None, filter: Filter, write: Callable[[], None]) -> None:
        """Listen to one more; `write` writes down that it is so. Raises NotConnected, Busy (NOT_SENT)."""
        while (joining := self._joining.get(filter.topic)) is not None:
            await asyncio.shield(joining)
        if filter.topic in self:
            return
        if client is None:
            raise NotConnected("there is no connection to the broker", delivery=Delivery.NOT_SENT)
        away = self._making_room()
        done = self._joining[filter.topic] = asyncio.get_running_loop().create_future()
        self._joined[filter.topic] = filter
        joined = False
        try:
            write()
            if away:
                await self.leave(client, away)
            await self.listen(client, [filter])
            joined = True
        except ConnectionError as error:
            raise NotConnected(str(error), delivery=Delivery.NOT_SENT) from None
        except OverflowError:
            raise Busy("the broker is asked too much at a time", delivery=Delivery.NOT_SENT) from None
        finally:
            if not joined:
                self._joined.pop(filter.topic, None)
            del self._joining[filter.topic]
            if not done.done():
                done.set_result(None)

    def joining(self, topic: str) -> bool:
        """Whether the broker has not confirmed this one yet."""
        return topic in self._joining

    def _making_room(self) -> list[str]:
        """What goes for another one to come. Raises Busy where calls need all."""
        if len(self._joined) < MOST_JOINED:
            return []
        for topic in self._joined:
            if not self._needed[topic] and topic not in self._joining:
                del self._joined[topic]
                return [topic]
        raise Busy("answers are awaited in too many places", delivery=Delivery.NOT_SENT)

    def lost(self) -> None:
        """The connection is lost: nobody waits for it any more."""
        for joining in self._joining.values():
            if not joining.done():
                joining.set_exception(NotConnected("the connection to the broker broke", delivery=Delivery.NOT_SENT))
                joining.exception()

    # -- what the broker keeps ------------------------------------------------------------------

    @property
    def written(self) -> bytes:
        """What is listened to, to be kept at the broker."""
        written = orjson.dumps([filter.topic for filter in self.filters])
        return written if len(written) <= MOST_WRITTEN else orjson.dumps(list(self._always))

    def unwanted(self, written: bytes) -> list[str]:
        """What was written down and is not wanted any more; what calls may need again is listened to again."""
        try:
            topics = orjson.loads(written)
        except orjson.JSONDecodeError:
            return []
        unwanted = []
        for topic in topics[:MOST_READ] if isinstance(topics, list) else ():
            # Whoever else can write there must not make the hub say what a broker ends connections for.
            if not isinstance(topic, str) or not is_filter(topic) or topic in self:
                continue
            if self._adopts(topic) and len(self._joined) < MOST_JOINED:
                self._joined[topic] = Filter(topic)
            else:
                unwanted.append(topic)
        return unwanted


def _portions(filters: Iterable[Filter]) -> Iterator[list[Filter]]:
    portion: list[Filter] = []
    size = 0
    for filter in filters:
        bytes_ = len(filter.topic.encode()) + 3
        if portion and (len(portion) >= PORTION or size + bytes_ > PORTION_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(filter)
        size += bytes_
    if portion:
        yield portion
