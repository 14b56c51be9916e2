"""One subscription of one sink: caught up in its lane, or lagging with nothing but a position.

History and live are one loop: read from the position (encoded ring, channel ring, log), write, and join
the lane when there is nothing left. A sink that is full ends the loop; it starts again when the sink resumes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel

from hub.core.channels import Channels
from hub.delivery import frames
from hub.delivery.lane import Joined, Lane, Lanes, batches, encode
from hub.delivery.sink import Sink
from hub.model.errors import HubError
from hub.model.event import Page, Position

NOTHING_PAUSE = 0.02

Spawn = Callable[[Callable[[], Coroutine[Any, Any, None]]], object]


class Listener:
    """A reader of one channel in one view.

    `spawn` starts the catching up in a task of the socket's group. `delivered` is told each offset up to which
    everything has been written; `failed` that nothing more will come. Positions are those of the
    channel's present epoch once the first page is read.
    """

    __slots__ = (
        "_channels",
        "_delivered",
        "_failed",
        "_in_lane",
        "_lanes",
        "_offset",
        "_reading",
        "_spawn",
        "_started",
        "_stopped",
        "epoch",
        "lane",
        "page",
        "sink",
    )

    def __init__(
        self,
        channels: Channels,
        lanes: Lanes,
        lane: Lane,
        sink: Sink,
        start: Position,
        spawn: Spawn,
        *,
        failed: Callable[[HubError | None], None],
        delivered: Callable[[int], None] | None = None,
        page: int = 256,
    ) -> None:
        self.lane = lane
        self.sink = sink
        self.epoch = start.epoch
        self.page = page
        self._offset = start.offset
        self._channels = channels
        self._lanes = lanes
        self._spawn = spawn
        self._delivered = delivered
        self._failed = failed
        self._in_lane = False
        self._reading = False
        self._started = False
        self._stopped = False

    @property
    def offset(self) -> int:
        """Everything up to here has been written to the sink."""
        return self.lane.offset if self._in_lane else self._offset

    @property
    def caught_up(self) -> bool:
        """Whether it stands in its lane."""
        return self._in_lane

    def start(self) -> None:
        """Begin to deliver what comes after the start position."""
        if self._stopped:
            return
        self._started = True
        self.lane = self._lanes.enter(self.lane)
        self.lane.channel.listeners += 1
        self._lanes.stats.lagging += 1
        self.resume()

    def stop(self) -> None:
        """Deliver nothing more; a second call does nothing."""
        if self._stopped:
            return
        self._step_out()
        self._stopped = True
        if self._started:
            self._lanes.stats.lagging -= 1
            self.lane.channel.listeners -= 1
            self._lanes.exit(self.lane)

    def pause(self) -> None:
        """The sink is full: leave the lane and keep the position."""
        if self._step_out() and self._delivered is not None:
            # The lane tells its members after writing; this one left within the write.
            self._delivered(self._offset)

    def resume(self) -> None:
        """The sink has room: go on from the position."""
        if self._stopped or self._in_lane or self._reading or self.sink.paused:
            return
        if not self._join():
            self._reading = True
            self._spawn(self._catch_up)

    def broken(self) -> None:
        """The lane cannot tell what was committed."""
        self.stop()
        self._failed(None)

    def _step_out(self) -> bool:
        """Leave the lane with the position; whether it stood there."""
        if not self._in_lane:
            return False
        self._offset = self.lane.offset
        self._in_lane = False
        self._lanes.stats.lagging += 1
        self.lane.leave(self)
        return True

    def _join(self) -> bool:
        if self.epoch != self.lane.channel.epoch:
            return False
        self._in_lane = self.lane.join(self, self._offset, self._delivered)
        self._lanes.stats.lagging -= self._in_lane
        return self._in_lane

    def _done(self) -> bool:
        """Whether the loop must end here; there is no await between this look and the end of the loop."""
        return self._stopped or self.sink.paused or self.lane.channel.deleted

    async def _catch_up(self) -> None:
        try:
            while not self._done() and not self._join():
                found = self.lane.recall(self._offset) if self.epoch == self.lane.channel.epoch else None
                if found is not None:
                    self._write(found)
                    # Lets the transport say that it is full, and everybody else have a turn.
                    await anyio.lowlevel.checkpoint()
                    continue
                page = await self._channels.read(self.lane.channel, Position(self.epoch, self._offset), self.page)
                if self._stopped or self.lane.channel.deleted:
                    return
                if page.gap is None and not page.events:
                    # The log knows more than the channel here (it is being deleted): do not spin meanwhile.
                    await anyio.sleep(NOTHING_PAUSE)
                await self._write_page(page)
        except HubError as error:
            if not self._stopped:
                self.stop()
                self._failed(error)
        finally:
            self._reading = False

    async def _write_page(self, page: Page) -> None:
        if page.gap is not None:
            told = self.lane.view.gap(page.gap, self.lane.channel.name, page.epoch)
            joined = b"" if told is None else frames.data(told, binary=self.lane.view.binary)
            self.epoch = page.epoch
            self._lanes.stats.gaps += 1
            self._write(Joined(page.gap.next, 0, joined))
        for batch in batches(page.events):
            if self._done():
                return
            self._write(encode(self.lane.view, batch))
            await anyio.lowlevel.checkpoint()

    def _write(self, joined: Joined) -> None:
        self._offset = joined.upto
        if joined.frames:
            self._lanes.stats.deliveries += joined.messages
            self.sink.write(joined.frames)
        if self._delivered is not None:
            self._delivered(joined.upto)
