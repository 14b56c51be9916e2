"""The bell of a single process: wakes whoever listens to a topic; carries nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class RingingHere:
    """A listener of one topic, from the moment that `listen` is entered."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    async def wait(self) -> None:
        """Return when the topic was rung since the last wait; several rings are one."""
        await self._rung.wait()
        self._rung.clear()

    def ring(self) -> None:
        self._rung.set()


class BellHere:
    """Topics and who listens to them now; a topic nobody listens to is not remembered."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[RingingHere]] = {}

    def ring(self, topic: str) -> None:
        """Wake the listeners of `topic`; nothing happens when there are none."""
        for listener in self._listeners.get(topic, ()):
            listener.ring()

    @contextmanager
    def listen(self, topic: str) -> Iterator[RingingHere]:
        """Hear every ring from here on; a ring before `wait` is not lost."""
        listener = RingingHere()
        self._listeners.setdefault(topic, set()).add(listener)
        try:
            yield listener
        finally:
            listeners = self._listeners[topic]
            listeners.discard(listener)
            if not listeners:
                del self._listeners[topic]
