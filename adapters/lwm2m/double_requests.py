"""What the device's double asks of the hub, repeated as CoAP does until it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adapters.lwm2m.codec import CON, Message
from adapters.lwm2m.option import CONTENT_FORMAT, URI_PATH, URI_QUERY, uint
from hub.ports.clock import Clock, Timer

LONGEST_WAIT = 32.0
"""Seconds: a device that got no answer to its fifth try asks anew, and so not more and more rarely."""


@dataclass(slots=True)
class _Request:
    """One under way; `wait` is the pause before it is sent again."""

    message: Message
    reply: asyncio.Future[Message]
    timer: Timer | None = None
    wait: float = 2.0


class Requests:
    """The device's requests under way, by token. They go out by `transmit`, with ids from `next_mid`."""

    def __init__(self, clock: Clock, transmit: Callable[[Message], None], next_mid: Callable[[], int]) -> None:
        self._clock = clock
        self._transmit = transmit
        self._next_mid = next_mid
        self._open: dict[bytes, _Request] = {}
        self._tokens = 0

    def begin(
        self, code: int, path: Sequence[str], query: Sequence[str], payload: bytes, form: int | None
    ) -> asyncio.Future[Message]:
        """Ask; the reply comes with the future, cancelled when nobody waits for it any more."""
        options = [(URI_PATH, piece.encode()) for piece in path]
        if form is not None:
            options.append((CONTENT_FORMAT, uint(form)))
        options += [(URI_QUERY, piece.encode()) for piece in query]
        self._tokens += 1
        message = Message(CON, code, self._next_mid(), self._tokens.to_bytes(4, "big"), options, payload)
        request = _Request(message, asyncio.get_running_loop().create_future())
        self._open[message.token] = request
        self._send(request)
        return request.reply

    def replied(self, message: Message) -> None:
        """Give a reply to the request that it belongs to; one of nobody is dropped."""
        request = self._open.pop(message.token, None)
        if request is not None:
            if request.timer is not None:
                request.timer.cancel()
            if not request.reply.done():
                request.reply.set_result(message)

    def cancel(self) -> None:
        """Ask no more."""
        for request in self._open.values():
            if request.timer is not None:
                request.timer.cancel()
            request.reply.cancel()
        self._open.clear()

    def _send(self, request: _Request) -> None:
        if request.reply.done():
            return
        self._transmit(request.message)
        request.timer = self._clock.call_at(self._clock.monotonic() + request.wait, self._send, request)
        request.wait = min(request.wait * 2, LONGEST_WAIT)
