"""Our requests on their way: tokens, retransmission, separate answers (RFC 7252, 4 and 5). No sockets.

An exchange is one request message and the one answer to it. It ends by an answer of any kind with its token, by RST, or
at its deadline; after that nothing more is sent for it. Time and the way out are handed in, so that a lost datagram
is a test's decision. What blocks belong to one request is transfer.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from adapters.lwm2m.alarms import Alarm, Alarms
from adapters.lwm2m.codec import ACK, EMPTY, RST, Message, encode
from adapters.lwm2m.generations import Generations
from hub.ports.adapter import CallError, Delivery, DeviceTimeout, Unreachable
from hub.ports.clock import Clock

Peer = tuple[Any, ...]
"""Where a message comes from or goes to: a socket address, or one behind the word `dtls`."""

ACK_TIMEOUT = 2.0
ACK_RANDOM = 0.5
MAX_RETRANSMIT = 4
EXCHANGE_LIFETIME = 247.0
MOST_ENDED = 16_384


class Reset(Unreachable):
    """The device answered with RST: it could not make anything of the request."""

    code = "RESET"


class Unanswered(DeviceTimeout):
    """A message stayed unanswered; `asked` is when it was sent first."""

    def __init__(self, detail: str, *, delivery: Delivery, asked: float) -> None:
        super().__init__(detail, delivery=delivery)
        self.asked = asked


class Owner(NamedTuple):
    """Whose request it is, and about what; a late answer is told under this."""

    device: str
    call_id: str | None = None
    path: tuple[str, ...] = ()


class Exchange:
    """One request under way. `answer` brings the response message, or the CallError that says why there is none."""

    __slots__ = (
        "acknowledged", "alarm", "answer", "closed", "datagram", "deadline", "key", "owner", "peer", "sent", "token",
        "wait",
    )

    def __init__(
        self, peer: Peer, mid: int, token: bytes, datagram: bytes, deadline: float, owner: Owner,
        answer: asyncio.Future[Message],
    ) -> None:
        self.peer = peer
        self.key = (peer, mid)
        self.token = token
        self.datagram = datagram
        self.deadline = deadline
        self.owner = owner
        self.answer = answer
        self.sent = 1
        self.acknowledged = False
        self.closed = False
        self.wait = 0.0
        self.alarm: Alarm | None = None

    @property
    def delivery(self) -> Delivery:
        """What is known of the request while there is no answer."""
        return Delivery.DELIVERED if self.acknowledged else Delivery.MAYBE


class Exchanges:
    """All requests under way, found by token and by message id."""

    def __init__(self, clock: Clock, send: Callable[[bytes, Peer], None], jitter: Callable[[], float]) -> None:
        self._clock = clock
        self._send = send
        self._jitter = jitter
        self._alarms: Alarms[Exchange] = Alarms(clock, self._due)
        self._by_token: dict[bytes, Exchange] = {}
        self._by_mid: dict[tuple[Peer, int], Exchange] = {}
        self._ended: Generations[bytes, tuple[Peer, Owner]] = Generations(EXCHANGE_LIFETIME, MOST_ENDED)
        self.retransmissions = 0

    def __len__(self) -> int:
        return len(self._by_token)

    async def ask(self, message: Message, peer: Peer, deadline: float, owner: Owner) -> Message:
        """Send a confirmable request and return the answer to it.

        Raises Unanswered (MAYBE, DELIVERED once the device acknowledged) at the deadline or when the last
        retransmission stayed unanswered, Reset. Cancelled, it stops at once. An answer that comes after the end
        is found by `late`.
        """
        loop = asyncio.get_running_loop()
        exchange = Exchange(
            peer, message.mid, message.token, encode(message), deadline, owner, loop.create_future()
        )
        self._by_token[exchange.token] = exchange
        self._by_mid[exchange.key] = exchange
        exchange.wait = ACK_TIMEOUT * (1 + ACK_RANDOM * self._jitter())
        now = self._clock.monotonic()
        exchange.alarm = self._alarms.set(min(now + exchange.wait, deadline), exchange)
        self._send(exchange.datagram, peer)
        try:
            return await exchange.answer
        except DeviceTimeout as error:
            raise Unanswered(error.detail, delivery=error.delivery, asked=now) from None
        except asyncio.CancelledError:
            self._ended.put(exchange.token, (peer, owner), self._clock.monotonic())
            raise
        finally:
            if not exchange.closed:
                self._close(exchange)

    def tell(self, message: Message, peer: Peer) -> None:
        """Send a message that nothing is expected for."""
        self._send(encode(message), peer)

    def heard(self, message: Message, peer: Peer) -> bool:
        """Give an answer or an acknowledgement to the exchange that it belongs to; whether there was one.

        An answer must come from where the request went: a token alone proves nothing.
        """
        if message.code == EMPTY:
            return self._heard_empty(message, peer)
        exchange = self._by_token.get(message.token)
        if exchange is None or exchange.peer != peer or exchange.answer.done():
            return False
        # Out of the tables at once: what follows in the same burst is not for it any more.
        self._close(exchange)
        exchange.answer.set_result(message)
        return True

    def is_open(self, token: bytes) -> bool:
        """Whether a request with this token is under way."""
        return token in self._by_token

    def owner_of(self, token: bytes) -> Owner | None:
        """Whose request has this token, also when it has ended without an answer."""
        exchange = self._by_token.get(token)
        if exchange is not None:
            return exchange.owner
        ended = self._ended.get(token)
        return None if ended is None else ended[1]

    def late(self, message: Message, peer: Peer) -> Owner | None:
        """Whose answer this is, where its exchange ended without one; told once."""
        found = self._ended.get(message.token)
        if found is None or found[0] != peer:
            return None
        self._ended.pop(message.token)
        return found[1]

    def fail(self, error: Callable[[Delivery], CallError], device: str | None = None) -> None:
        """End all exchanges, or those with one device, each with an `error` made of what is known of its delivery. An
        answer that comes all the same is found by `late`."""
        for exchange in list(self._by_token.values()):
            if device in (None, exchange.owner.device) and not exchange.answer.done():
                self._ended.put(exchange.token, (exchange.peer, exchange.owner), self._clock.monotonic())
                self._fail(exchange, error(exchange.delivery))

    def _heard_empty(self, message: Message, peer: Peer) -> bool:
        exchange = self._by_mid.get((peer, message.mid))
        if exchange is None or exchange.answer.done() or message.kind not in (ACK, RST):
            return False
        if message.kind == ACK:
            # The answer comes by itself, later: from here on only the deadline is waited for.
            exchange.acknowledged = True
            self._stop(exchange)
            exchange.alarm = self._alarms.set(exchange.deadline, exchange)
            return True
        # A device that reboots after carrying it out answers a repetition with RST too; only one that was asked
        # once certainly did nothing.
        once = exchange.sent == 1 and not exchange.acknowledged
        self._fail(exchange, Reset("the device answered RST", delivery=Delivery.NOT_SENT if once else Delivery.MAYBE))
        return True

    def _due(self, exchange: Exchange) -> None:
        exchange.alarm = None
        if exchange.answer.done():
            return
        now = self._clock.monotonic()
        if now >= exchange.deadline or exchange.acknowledged or exchange.sent > MAX_RETRANSMIT:
            self._ended.put(exchange.token, (exchange.peer, exchange.owner), now)
            self._fail(exchange, DeviceTimeout("no answer", delivery=exchange.delivery))
            return
        exchange.sent += 1
        exchange.wait *= 2
        self.retransmissions += 1
        exchange.alarm = self._alarms.set(min(now + exchange.wait, exchange.deadline), exchange)
        self._send(exchange.datagram, exchange.peer)

    def _fail(self, exchange: Exchange, error: CallError) -> None:
        self._stop(exchange)
        if not exchange.answer.done():
            exchange.answer.set_exception(error)

    def _stop(self, exchange: Exchange) -> None:
        if exchange.alarm is not None:
            self._alarms.cancel(exchange.alarm)
            exchange.alarm = None

    def _close(self, exchange: Exchange) -> None:
        exchange.closed = True
        self._stop(exchange)
        if self._by_token.get(exchange.token) is exchange:
            del self._by_token[exchange.token]
        if self._by_mid.get(exchange.key) is exchange:
            del self._by_mid[exchange.key]
