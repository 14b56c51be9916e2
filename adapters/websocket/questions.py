"""What a device was asked over one connection and has not answered: each until its answer, its deadline or the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from adapters.websocket.outbox import Outgoing
from hub.ports.adapter import CallError, Delivery, DeviceResponse, DeviceTimeout, NotConnected
from hub.ports.clock import Clock


class Questions:
    """The open questions of one connection by their tokens. `cancel` tells the device that an answer is not wanted."""

    def __init__(self, clock: Clock, cancel: Callable[[str], None]) -> None:
        self._clock = clock
        self._cancel = cancel
        self._open: dict[str, tuple[asyncio.Future[DeviceResponse], Outgoing]] = {}

    def __contains__(self, token: str) -> bool:
        return token in self._open

    async def answer(self, token: str, outgoing: Outgoing, deadline: float) -> DeviceResponse:
        """The answer to a question that is on its way out. Raises DeviceTimeout or NotConnected, with what became of
        the question; whoever gives up earlier has it taken back, or cancelled at the device."""
        answer: asyncio.Future[DeviceResponse] = asyncio.get_running_loop().create_future()
        self._open[token] = (answer, outgoing)
        timer = self._clock.call_at(deadline, _expire, answer, outgoing)
        try:
            return await answer
        except asyncio.CancelledError:
            if outgoing.recall() is Delivery.MAYBE:
                self._cancel(token)
            raise
        finally:
            timer.cancel()
            del self._open[token]

    def answered(self, token: str, response: DeviceResponse) -> bool:
        """Hand an answer to who waits for it; False when nobody does."""
        waiting = self._open.get(token)
        if waiting is None or waiting[0].done():
            return False
        waiting[0].set_result(response)
        return True

    def fail(self, text: str) -> None:
        """The connection is over: nothing of this will be answered."""
        for answer, outgoing in list(self._open.values()):
            if not answer.done():
                answer.set_exception(NotConnected(text, delivery=outgoing.recall()))


def _expire(answer: asyncio.Future[DeviceResponse], outgoing: Outgoing) -> None:
    if not answer.done():
        error: CallError = DeviceTimeout("no answer", delivery=outgoing.recall())
        answer.set_exception(error)
