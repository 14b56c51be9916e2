"""Values that devices told: remembered for who asks later, told to those who want them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from hub.core.cache import Cache
from hub.core.channels import DEFAULT
from hub.model.device import Device
from hub.model.event import EventDraft, EventKind
from hub.ports.adapter import DeviceResponse
from hub.ports.engine import ChannelLog


class Values:
    """The way of a value to the cache and to the channels of applications."""

    def __init__(self, channel_log: ChannelLog, cache: Cache) -> None:
        self._log = channel_log
        self._cache = cache

    def remember(self, device: Device, path: str, value: DeviceResponse) -> None:
        """It is the newest one of this resource."""
        age = None if value.max_age is None else timedelta(seconds=value.max_age)
        self._cache.news((device.adapter, device.address), path, value.payload, value.content_type, age)

    async def tell(self, device: Device, path: str, value: DeviceResponse, who: Iterable[str]) -> None:
        """Tell it to these applications; returns once that is on disk. Raises StorageFailed."""
        drafts = self.drafts(device, path, value, who)
        if drafts:
            await self._log.append(drafts, {draft.channel: device.account for draft in drafts})

    def drafts(
        self, device: Device, path: str, value: DeviceResponse, who: Iterable[str], seq: int | None = None
    ) -> list[EventDraft]:
        """The events that tell it to these applications."""
        body = {
            "device": device.id,
            "name": device.name,
            "path": path,
            "payload": value.payload,
            "content_type": value.content_type,
            "max_age": value.max_age,
            "seq": seq,
        }
        channels = [f"{application}/{DEFAULT}" for application in sorted(set(who))]
        return [EventDraft(channel, EventKind.NOTIFICATION, body) for channel in channels]
