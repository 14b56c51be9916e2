"""What tests of lanes share: a channel, its lane, and listeners with recording sinks."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import orjson
from anyio.abc import TaskGroup

from hub.core.channels import Channel, Channels
from hub.core.limits import Limits
from hub.delivery.envelope import NativeView
from hub.delivery.lane import Lanes
from hub.delivery.listener import Listener
from hub.delivery.outlet import Outlet
from hub.model.errors import HubError
from hub.model.event import Event, Position
from tests.clock import ManualClock
from tests.doubles_listening import MemoryLog, RecordingSink, completion

NAME = "app/default"


class CountingView(NativeView):
    """Counts what it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.rendered = 0

    def render(self, events: Sequence[Event]) -> list[bytes]:
        self.rendered += len(events)
        return super().render(events)


class Rig:
    """A channel, its lane, and listeners with recording sinks."""

    def __init__(self, clock: ManualClock, group: TaskGroup) -> None:
        self.log = MemoryLog()
        self.clock = clock
        self.group = group
        self.channels = Channels(self.log, Limits(), clock)
        self.log.on_commit = self.channels.on_commit
        self.lanes = Lanes()
        self.view = CountingView()
        self.failures: list[HubError | None] = []

    async def channel(self) -> Channel:
        return await self.channels.open(NAME, "acme")

    async def listen(self, start: int | None = None, epoch: str | None = None, page: int = 256) -> tuple[
        Listener, RecordingSink, Outlet
    ]:
        channel = await self.channel()
        sink = RecordingSink()
        outlet = Outlet(sink, self.clock, Limits().slow_listener, lambda: None, self.lanes.stats)
        listener = Listener(
            self.channels,
            self.lanes,
            self.lanes.lane(channel, self.view),
            sink,
            Position(epoch or channel.epoch, channel.head if start is None else start),
            self.group.start_soon,
            failed=self.failures.append,
            page=page,
        )
        outlet.add(listener)
        return listener, sink, outlet

    def commit(self, ref: str = "a", payload: bytes = b"x", count: int = 1) -> None:
        self.log.commit(*(completion(NAME, ref, payload) for _ in range(count)))


def offsets(sink: RecordingSink) -> list[int]:
    return [message["offset"] for message in map(orjson.loads, sink.messages()) if message["type"] == "message"]


async def settled() -> None:
    await anyio.wait_all_tasks_blocked()
