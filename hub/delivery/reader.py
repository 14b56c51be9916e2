"""A named reader of a channel: its stored position, and what moves it.

The position moves by an acknowledgement, or by the pong to a ping that was sent after the data: bytes
written prove nothing (delivery-guarantees D6). Stored positions are written one at a time, the newest only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import anyio

from hub.core.channels import Channel
from hub.delivery.sink import Sink
from hub.model.errors import HubError
from hub.model.event import Position
from hub.ports.clock import Clock, Timer
from hub.ports.engine import ChannelLog

# Decisions F9 allow a second from unacknowledged data to the ping; half of it lets a busy loop be late.
PING_AFTER = timedelta(seconds=0.5)
SAVING_TIME = timedelta(seconds=5)

log = logging.getLogger("hub.delivery")

Spawn = Callable[[Callable[[], Coroutine[Any, Any, None]]], object]


class Reader:
    """One name's place on one channel while a socket holds it."""

    __slots__ = (
        "_acknowledged",
        "_clock",
        "_displaced",
        "_log",
        "_saving",
        "_sink",
        "_spawn",
        "_stopped",
        "_timer",
        "acked",
        "channel",
        "delivered_upto",
        "name",
        "stored",
    )

    def __init__(
        self,
        log: ChannelLog,
        clock: Clock,
        sink: Sink,
        spawn: Spawn,
        channel: Channel,
        name: str,
        start: int,
        *,
        acknowledged: Callable[[int], None] | None = None,
    ) -> None:
        self.channel = channel
        self.name = name
        self.stored = start
        self.acked = start
        self.delivered_upto = start
        self._acknowledged = acknowledged
        self._log = log
        self._clock = clock
        self._sink = sink
        self._spawn = spawn
        self._timer: Timer | None = None
        self._saving = False
        self._displaced = False
        self._stopped = False

    def delivered(self, offset: int) -> None:
        """Everything up to `offset` was written to the socket: ask soon whether it arrived."""
        self.delivered_upto = offset
        if self._timer is None and not self._stopped and offset > self.acked:
            self._timer = self._clock.call_at(
                self._clock.monotonic() + PING_AFTER / timedelta(seconds=1), self._ping
            )

    def ack(self, offset: int) -> bool:
        """The client has everything up to `offset`; False, changing nothing, for more than was delivered."""
        if offset > self.delivered_upto:
            return False
        if offset > self.acked:
            self.acked = offset
            if self._acknowledged is not None:
                self._acknowledged(offset)
            if not self._saving:
                self._saving = True
                self._spawn(self._save)
        return True

    def displace(self) -> None:
        """The name is somebody else's from now on: nothing that comes in here moves its position any more."""
        self._displaced = self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    async def stop(self) -> None:
        """Let go of the name; what was acknowledged is stored before this returns."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._unsaved():
            with anyio.move_on_after(SAVING_TIME / timedelta(seconds=1), shield=True):
                await self._store()

    def _ping(self) -> None:
        if self._stopped or self.acked >= self.delivered_upto:
            self._timer = None
            return
        asked = self.delivered_upto
        if not self._sink.ping(lambda: self._answered(asked)):
            # This server cannot ping: only acknowledgements move the position.
            self._stopped = True

    def _answered(self, offset: int) -> None:
        self._timer = None
        if not self._stopped:
            self.ack(offset)
            self.delivered(self.delivered_upto)

    async def _save(self) -> None:
        try:
            while self._unsaved():
                await self._store()
        finally:
            self._saving = False

    def _unsaved(self) -> bool:
        return self.acked > self.stored and not self._displaced and not self.channel.deleted

    async def _store(self) -> None:
        offset = self.acked
        try:
            await self._log.store_position(self.channel.name, self.name, Position(self.channel.epoch, offset))
        except HubError as error:
            # Only repetition is at stake: the next acknowledgement tries again.
            log.warning("the position of reader %s was not stored: %s", self.name, error)
            self.acked = self.stored
            return
        self.stored = max(self.stored, offset)
