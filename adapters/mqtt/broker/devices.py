"""Who is there, as a broker lets it be known, and what the hub is told of it: the last word on each device, in order.

Where devices say so themselves (a retained status with a last will) that is believed; elsewhere whoever is heard is
there, and nobody is known to be away but while the broker is.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

from adapters.mqtt.broker.client import Message
from adapters.mqtt.broker.device import BrokerDevice
from adapters.mqtt.broker.pattern import DEVICE
from adapters.mqtt.broker.reports import Reports
from adapters.mqtt.broker.settings import BrokerSettings
from hub.model.device import Presence
from hub.model.errors import HubError, NotTaken, UnknownDevice
from hub.ports.adapter import AdapterContext, DeviceEvent, EventKind

MOST = 100_000
LOOK_AT = 100
"""Strangers that are looked at for one that can make room."""
LIFE = "mqtt"
"""A broker does not tell one life of a device from the next: a device that is there again is awake, not new."""

log = logging.getLogger("hub.adapter.mqtt-broker")


class Devices:
    """All devices of one broker. `gone` is called for each that said that it is away.

    Strangers are those of whom the hub has taken nothing yet: whoever is at the broker can make up any number of them,
    so they make room when there are too many.
    """

    def __init__(
        self, ctx: AdapterContext, settings: BrokerSettings, gone: Callable[[BrokerDevice], None],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
    ) -> None:  # fmt: skip
        self._ctx = ctx
        self._settings = settings
        self._gone = gone
        self._known: dict[str, BrokerDevice] = {}
        self._strangers: OrderedDict[BrokerDevice, None] = OrderedDict()
        self._reports = Reports(ctx.clock, self._report, spawn)
        self.up = False
        self._waiting: list[tuple[str, Presence, asyncio.Future[None]]] = []
        self.ignored = 0

    def __len__(self) -> int:
        return len(self._known)

    # -- who is there ---------------------------------------------------------------------------

    def find(self, address: str) -> BrokerDevice | None:
        """A device that was heard or called."""
        return self._known.get(address)

    def at(self, address: str) -> BrokerDevice:
        """The device at an address that the hub calls."""
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = BrokerDevice(address)
            self._strangers[known] = None
        return known

    def offered(self, address: str) -> BrokerDevice | None:
        """The device at an address that somebody wrote; None where too many are known that the hub has."""
        return self._known.get(address) or (self.at(address) if self._room() else None)

    def _room(self) -> bool:
        if len(self._known) < MOST:
            return True
        for _ in range(min(LOOK_AT, len(self._strangers))):
            stranger, _ = self._strangers.popitem(last=False)
            if self._idle(stranger):
                del self._known[stranger.address]
                return True
            self._strangers[stranger] = None
        return False

    def _idle(self, device: BrokerDevice) -> bool:
        return device.idle and device not in self._reports

    def _confirm(self, device: BrokerDevice) -> None:
        device.confirmed = True
        self._strangers.pop(device, None)

    def _doubt(self, device: BrokerDevice) -> None:
        """The hub has no such device."""
        device.confirmed = device.registered = False
        if self._known.get(device.address) is device:
            self._strangers[device] = None

    def leave(self, device: BrokerDevice) -> None:
        """Somebody is done with a device: nothing is kept of a stranger that did not say whether it is there."""
        if not device.confirmed and device.presence is Presence.UNKNOWN and self._idle(device):
            self._strangers.pop(device, None)
            if self._known.get(device.address) is device:
                del self._known[device.address]

    def unknown(self, address: str) -> None:
        """The hub said that it has no such device."""
        known = self._known.get(address)
        if known is not None:
            self._doubt(known)

    async def settled(self, address: str) -> bool:
        """Whether the hub may have a device after all that it did not have: return when what is being told is told."""
        known = self._known.get(address)
        if known is not None and known in self._reports:
            await self._reports.settled(known)
        return known is not None and known.registered

    def close(self) -> None:
        """Tell nothing any more."""
        self._reports.close()

    def presence(self, address: str) -> Presence:
        """What is known now."""
        if not self.up:
            return Presence.OFFLINE
        known = self._known.get(address)
        presence = Presence.UNKNOWN if known is None else known.presence
        return Presence.OFFLINE if presence is Presence.UNKNOWN and self._settings.presence.required else presence

    def status(self, message: Message) -> bool:
        """Take in a message if it is a status."""
        settings = self._settings.presence
        places = None if settings.topic is None else settings.topic.read(message.topic)
        if places is None:
            return False
        word = message.payload.decode(errors="replace").strip()
        words = {settings.online: Presence.ONLINE, settings.offline: Presence.OFFLINE, "": Presence.UNKNOWN}
        presence = words.get(word)
        device = None if presence is None else self.offered(places[DEVICE])
        if presence is None or device is None:
            self.ignored += 1
        else:
            self._set(device, presence)
        return True

    def heard(self, address: str, *, called: bool = False) -> None:
        """A device that the hub has told something, or answered (`called`); where nobody says otherwise, that means
        that it is there."""
        known = self.offered(address)
        if known is None:
            return
        if not called:
            self._confirm(known)
        if self._settings.presence.topic is None and known.presence is not Presence.ONLINE:
            self._set(known, Presence.ONLINE)
        elif called and not known.registered and known.presence is Presence.ONLINE and known not in self._reports:
            self._reports.due(known)  # it was there before the hub had it

    def forget(self, address: str) -> None:
        """The hub was told nothing of this device that it remembers."""
        known = self._known.get(address)
        if known is not None:
            known.told = Presence.UNKNOWN
            self._doubt(known)

    def _set(self, device: BrokerDevice, presence: Presence) -> None:
        before, device.presence = device.presence, presence
        if presence is Presence.OFFLINE and before is not Presence.OFFLINE:
            self._gone(device)
        self._reports.due(device)
        for waiting in [one for one in self._waiting if one[:2] == (device.address, presence)]:
            self._waiting.remove(waiting)
            if not waiting[2].done():
                waiting[2].set_result(None)

    async def until(self, address: str, presence: Presence) -> None:
        """Return once a device is known to be so."""
        if self.presence(address) is not presence:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (address, presence, waiting)
            self._waiting.append(entry)
            try:
                await waiting
            finally:
                if entry in self._waiting:
                    self._waiting.remove(entry)

    # -- the broker -----------------------------------------------------------------------------

    def broker(self, up: bool) -> None:
        """The broker is there, or is not: so are all devices behind it."""
        self.up = up
        for device in list(self._known.values()):
            if not up:
                device.presence = Presence.UNKNOWN
            self._reports.due(device)

    # -- telling --------------------------------------------------------------------------------

    async def _report(self, device: BrokerDevice) -> bool:
        """Tell of a device; False when that has to be tried again."""
        presence = self.presence(device.address)
        event = self._event(device, presence)
        if event is None:
            return True
        woken, device.turned_away = device.turned_away, device.turned_away and presence is Presence.OFFLINE
        try:
            await self._ctx.accept(event)
        except (UnknownDevice, NotTaken):
            # It would be refused again; the next thing that is heard of it is told.
            self._doubt(device)
            return True
        except HubError as failure:
            if not device.tries:
                log.warning("a device's coming or going could not be told: %s", failure)
            device.turned_away = device.turned_away or woken
            return False
        self._confirm(device)
        device.told = presence
        device.registered = device.registered or event.kind is EventKind.REGISTERED
        return True

    def _event(self, device: BrokerDevice, presence: Presence) -> DeviceEvent | None:
        now = self._ctx.clock.monotonic()
        if presence is Presence.ONLINE and not device.registered:
            attrs = {"boot": LIFE, "queue_mode": False, "id": device.address.rpartition("/")[2]}
            return DeviceEvent(EventKind.REGISTERED, device.address, now, attrs=attrs)
        if not self.up and device.told is Presence.UNKNOWN:
            return None  # the broker has not told all yet
        if presence is Presence.OFFLINE:
            told = device.told is Presence.OFFLINE
            return None if told else DeviceEvent(EventKind.OFFLINE, device.address, now)
        if presence is device.told and not device.turned_away:
            return None
        if presence is Presence.ONLINE or device.turned_away or device.told is Presence.OFFLINE:
            # Nobody knows of this one, but it may be tried again: what waits for it shall go out.
            return DeviceEvent(EventKind.AWAKE, device.address, now)
        return None
