"""Which events of a channel are older than a moment: by halving, since moments grow with offsets."""

from __future__ import annotations

from datetime import datetime, timedelta

from hub.core.channels import Channel, Channels
from hub.core.hub import Hub
from hub.model.event import Position

LIFETIME = timedelta(hours=24)


async def too_old(hub: Hub, channel: Channel, position: Position) -> int:
    """The offset up to which events have outlived their day, 0 for none.

    A log that keeps no longer is left to its trimming.
    """
    if hub.limits.retention <= LIFETIME or position.offset >= channel.head:
        return 0
    moment = hub.clock.now() - LIFETIME
    page = await hub.channels.read(channel, position, 1)
    if page.gap is not None or not page.events or page.events[0].at >= moment:
        return 0
    return await before_younger(hub.channels, channel, moment)


async def before_younger(channels: Channels, channel: Channel, moment: datetime) -> int:
    """The offset after which every event is younger than `moment`."""
    low, high = max(0, channel.first - 1), channel.head
    while low < high:
        middle = (low + high) // 2
        page = await channels.read(channel, Position(channel.epoch, middle), 1)
        if page.events and page.events[0].at < moment:
            low = page.events[0].offset
        else:
            high = middle
    return low
