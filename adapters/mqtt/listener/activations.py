"""Connections of devices that are told their secret and nothing else: a few of each product, for a short while.

They are in nobody's place, so that nothing else would bound them: whoever has a product's secret could fill the door.
"""

from __future__ import annotations

from collections import Counter

from adapters.mqtt.listener.connection import Connection
from adapters.mqtt.topics import Name
from hub.ports.clock import Clock, Timer


class Activations:
    """Who is being activated; of one device only the newest connection."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._here: dict[Name, tuple[Connection, Timer]] = {}
        self._of_product: Counter[str] = Counter()

    def enter(self, clock: Clock, name: Name, connection: Connection) -> bool:
        """A place for a connection, until it ends or its time is over; False when its product has none left."""
        older = self._here.get(name)
        if older is None and self._of_product[name[0]] >= self._most:
            return False
        if older is not None:
            self.leave(name, older[0])
            older[0].abort("replaced by a newer connection")
        timer = clock.call_at(clock.monotonic() + self._seconds, connection.close, "was told its secret")
        self._here[name] = connection, timer
        self._of_product[name[0]] += 1
        return True

    def leave(self, name: Name, connection: Connection) -> None:
        """A connection is over; harmless for one that has no place any more."""
        here = self._here.get(name)
        if here is None or here[0] is not connection:
            return
        here[1].cancel()
        del self._here[name]
        self._of_product[name[0]] -= 1
        if not self._of_product[name[0]]:
            del self._of_product[name[0]]
