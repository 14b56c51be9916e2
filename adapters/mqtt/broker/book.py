"""What a lasting session listens to, written down at the broker, which tells nobody: see `subscriptions.py`."""

from __future__ import annotations

import logging
from collections.abc import Callable

from adapters.mqtt.broker.client import Client
from adapters.mqtt.broker.echo import Echo
from adapters.mqtt.broker.filter import Filter
from adapters.mqtt.broker.subscriptions import NotLet, Subscriptions

log = logging.getLogger("hub.adapter.mqtt-broker")


class Book:
    """The book at a topic of the hub's own; without one there is none. `publish` sends it, retained, as far as that can
    be done."""

    def __init__(
        self, topic: str, listening: Subscriptions, echo: Echo, publish: Callable[[str, bytes], None]
    ) -> None:
        self.topic = topic
        self._listening = listening
        self._echo = echo
        self._publish = publish
        self._read: bytes | None = None
        self._known = False

    def hear(self, payload: bytes) -> None:
        """Take in what is written there."""
        self._read = payload

    def write(self) -> None:
        """Write down what is listened to. What could not be read is not written over: it names what is still to be
        given up."""
        if self._known:
            self._publish(self.topic, self._listening.written)

    async def tidy(self, client: Client, resumed: bool) -> None:
        """Give up what the session still listens to, and the hub does not want any more. Raises ConnectionError."""
        if not self.topic:
            return
        self._known, self._read = not resumed, None
        if resumed:
            try:
                await self._listening.listen(client, [Filter(self.topic, 0)])
            except NotLet:
                log.warning("the broker lets nobody hear %s: what was listened to once may still be", self.topic)
            else:
                # Once a message to itself is back, there is no book that has not come.
                self._known = await self._echo.back() or self._read is not None
                await self._listening.leave(client, [self.topic])
            if unwanted := self._listening.unwanted(self._read or b""):
                await self._listening.leave(client, unwanted)
        self.write()
