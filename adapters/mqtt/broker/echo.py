"""Messages to oneself: once one is back, all that the broker sent before is heard, and the broker is well."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable

from adapters.mqtt.broker.bounded import Bounded, Silent, resolve

SETTLE = 5.0
"""Seconds in which a broker that is well sends something, if only a message to oneself that is due."""


class Echo:
    """Sends to a topic of the hub's own, with `send`, and waits for what comes back."""

    def __init__(self, topic: str, send: Callable[[str, bytes], None], before: Bounded) -> None:
        self.topic = topic
        self._send = send
        self._before = before
        self._marks: dict[bytes, asyncio.Future[None]] = {}
        self._turn = asyncio.Lock()
        self._asked = self._covered = 0

    def hear(self, topic: str, payload: bytes) -> bool:
        """Take in a message; whether it is one to oneself that was waited for."""
        if not self._marks or topic != self.topic:
            return False
        back = self._marks.pop(payload, None)
        if back is not None:
            resolve(back)
        return back is not None

    async def back(self) -> bool:
        """Send a message to oneself; whether it came back before the broker fell silent. It is sent again while others
        are heard: brokers drop what comes too thick. Raises ConnectionError when the connection is lost."""
        token = secrets.token_bytes(12)
        back = self._marks[token] = asyncio.get_running_loop().create_future()

        def again() -> None:
            with contextlib.suppress(ConnectionError):  # whoever waits is told so
                self._send(self.topic, token)

        try:
            self._send(self.topic, token)
            await self._before(back, SETTLE, again)
            return True
        except Silent:
            return False
        finally:
            self._marks.pop(token, None)

    async def passed(self) -> None:
        """As `back`, for many at a time: one message is enough for all that wait for it to be sent."""
        self._asked += 1
        mine = self._asked
        async with self._turn:
            if self._covered < mine:
                covers = self._asked
                await self.back()
                self._covered = covers
