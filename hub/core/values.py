"""Values that devices told: remembered for who asks later, told to those who want them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from hub.core.cache import Cache
from hub.core.channels import DEFAULT
from hub.core.wants import Owner
from hub.model.device import Device
from hub.model.event import EventDraft, EventKind
from hub.model.outcome import values_in
from hub.ports.adapter import DeviceResponse
from hub.ports.engine import ChannelLog


class _Telling:
    """Something that is being written. `over` is there once somebody waits for its end."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        self.over: asyncio.Event | None = None


class Values:
    """The way of a value to the cache and to the channels of applications."""

    def __init__(self, channel_log: ChannelLog, cache: Cache) -> None:
        self._log = channel_log
        self._cache = cache
        self._under_way: dict[_Telling, Owner] = {}

    def remember(self, device: Device, path: str, value: DeviceResponse) -> None:
        """It is the newest one of this resource."""
        age = None if value.max_age is None else timedelta(seconds=value.max_age)
        place, values = (device.adapter, device.address), values_in(value.native)
        self._cache.news(place, path, value.payload, value.content_type, age, values)

    async def tell(self, device: Device, path: str, value: DeviceResponse, who: Iterable[str]) -> None:
        """Tell it to these applications; returns once that is on disk. Raises StorageFailed."""
        await self.append((device.account, device.id), self.drafts(device, path, value, who))

    async def append(self, owner: Owner, drafts: Sequence[EventDraft]) -> None:
        """Tell these events about a device; returns once that is on disk. Raises StorageFailed."""
        if not drafts:
            return
        telling = _Telling()
        self._under_way[telling] = owner
        try:
            await self._log.append(drafts, {draft.channel: owner[0] for draft in drafts})
        finally:
            del self._under_way[telling]
            if telling.over is not None:
                telling.over.set()

    async def told(self, owner: Owner | None = None) -> None:
        """Return when what is being told about the device, or any one, is on disk: it was for those who wanted it
        until now."""
        for telling, about in tuple(self._under_way.items()):
            if owner in (None, about):
                telling.over = telling.over or asyncio.Event()
                await telling.over.wait()

    def drafts(
        self, device: Device, path: str, value: DeviceResponse, who: Iterable[str], seq: int | None = None,
        said: datetime | None = None,
    ) -> list[EventDraft]:
        """The events that tell it to these applications; `said` is the time that the device gave it."""
        body: dict[str, Any] = {
            "device": device.id,
            "name": device.name,
            "path": path,
            "payload": value.payload,
            "content_type": value.content_type,
            "max_age": value.max_age,
            "seq": seq,
            "device_time": None if said is None else said.isoformat(timespec="milliseconds"),
        }
        if (values := values_in(value.native)) is not None:
            body["values"] = values
        channels = [f"{application}/{DEFAULT}" for application in sorted(set(who))]
        return [EventDraft(channel, EventKind.NOTIFICATION, body) for channel in channels]
