"""Exchanges: the calls that wait for an answer, and which answer belongs to which of them.

The matching is real although the wire is not: an answer is taken by its token and its sender, the second one
changes nothing, and one that comes after its deadline is told apart from one that nobody asked for.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple

from hub.ports.adapter import CallError, Delivery, DeviceRequest, DeviceResponse, DeviceTimeout
from hub.ports.clock import Clock, Timer

REMEMBERED = 4096


class Token(NamedTuple):
    """What an answer must carry to be matched."""

    call_id: str
    attempt: int


class Exchange:
    """One attempt that waits."""

    __slots__ = ("_timer", "answer", "device", "late", "token")

    def __init__(self, request: DeviceRequest, clock: Clock, delivery: Delivery = Delivery.MAYBE) -> None:
        self.device = request.device
        self.token = Token(request.call_id, request.attempt)
        self.late = False
        self.answer: asyncio.Future[DeviceResponse] = asyncio.get_running_loop().create_future()
        self._timer: Timer | None = None
        self.due(clock, request.deadline, delivery)

    def due(self, clock: Clock, deadline: float, delivery: Delivery) -> None:
        """Fail with DeviceTimeout at `deadline` instead of when was said before."""
        self.quiet()
        self._timer = clock.call_at(deadline, self.fail, DeviceTimeout("no answer", delivery=delivery))

    def fail(self, error: CallError) -> None:
        """Give up waiting, if it still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)

    @property
    def failed(self) -> bool:
        """Whether it was given up without an answer."""
        return self.answer.cancelled() or (self.answer.done() and self.answer.exception() is not None)

    def quiet(self) -> None:
        """Call the deadline off."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Exchanges:
    """All that wait, and a bounded memory of those that went away without an answer."""

    def __init__(self) -> None:
        self._waiting: dict[Token, Exchange] = {}
        self._unanswered: OrderedDict[Token, str] = OrderedDict()
        self.ignored = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, exchange: Exchange) -> None:
        """Begin to wait."""
        self._waiting[exchange.token] = exchange

    def remove(self, exchange: Exchange) -> None:
        """Stop waiting; if there was no answer, one may still come late."""
        exchange.quiet()
        self._waiting.pop(exchange.token, None)
        if exchange.late or (exchange.answer.done() and not exchange.failed):
            return
        self._unanswered[exchange.token] = exchange.device
        if len(self._unanswered) > REMEMBERED:
            self._unanswered.popitem(last=False)

    def answered(self, device: str, token: Token, response: DeviceResponse) -> bool:
        """Match an answer of `device`. True: it is a late one, for the hub to hear of."""
        exchange = self._waiting.get(token)
        if exchange is not None and exchange.device == device and not exchange.answer.done():
            exchange.answer.set_result(response)
            return False
        if exchange is not None and exchange.device == device and exchange.failed and not exchange.late:
            exchange.late = True  # given up a moment ago; its caller has not even noticed yet
            return True
        if exchange is None and self._unanswered.get(token) == device:
            del self._unanswered[token]
            return True
        self.ignored += 1
        return False

    def fail(self, error: CallError, device: str | None = None) -> None:
        """Fail all that wait, or all of one device."""
        for exchange in list(self._waiting.values()):
            if device is None or exchange.device == device:
                exchange.fail(error)
