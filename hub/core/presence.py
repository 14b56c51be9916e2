"""What devices report about themselves: they come, stay, sleep, leave; and what the hub tells of it.

Registrations are facts on disk, told to every application of the account in the same commit (decisions A1, E).
Presence is memory: it is rebuilt as devices are heard from.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hub.core.channels import DEFAULT
from hub.core.claims import PSK_IDENTITY
from hub.core.directory import Directory
from hub.core.dispatch import Dispatch
from hub.core.observe import Observing
from hub.core.records import memory_record
from hub.core.stats import Stats
from hub.model.device import Device, Presence, Registration, Resource
from hub.model.errors import UnknownDevice
from hub.model.event import EventDraft, EventKind
from hub.model.record import Kind
from hub.ports.adapter import DeviceEvent
from hub.ports.adapter import EventKind as Heard
from hub.ports.clock import Clock

FEW_ENDS = 1000

log = logging.getLogger("hub.presence")
audit = logging.getLogger("hub.audit")


class PresenceBook:
    """Keeps the directory in step with what adapters report, and wakes the lanes of devices that show up."""

    def __init__(
        self, directory: Directory, dispatch: Dispatch, observe: Observing, clock: Clock, stats: Stats
    ) -> None:
        self._directory = directory
        self._dispatch = dispatch
        self._observe = observe
        self._clock = clock
        self._stats = stats
        # When to look whether registrations ended, soonest first; `_looks` has the one entry of each device that
        # counts. An update that moves the end away leaves it: whoever looks too early looks again.
        self._ends: list[tuple[datetime, str, str]] = []
        self._looks: dict[tuple[str, str], datetime] = {}

    def load(self) -> None:
        """Know when the stored registrations end. Call after the directory was loaded."""
        for device in self._directory.all_devices():
            self._ends_at(device)

    def _ends_at(self, device: Device) -> None:
        if device.registration is not Registration.REGISTERED or device.expires_at is None:
            return
        owner = (device.account, device.id)
        look = self._looks.get(owner)
        if look is not None and look <= device.expires_at:
            return
        self._looks[owner] = device.expires_at
        if len(self._ends) > 2 * len(self._looks) + FEW_ENDS:
            # Ends that moved nearer again and again left their entries.
            self._ends = [(at, *whose) for whose, at in self._looks.items()]
            heapq.heapify(self._ends)
        else:
            heapq.heappush(self._ends, (device.expires_at, *owner))

    async def hear(self, adapter: str, event: DeviceEvent, home: str | None) -> Device | None:
        """Take in one report; returns the device (None for an unknown one) once what must be on disk is there.

        `home` is the account in which unknown devices of this adapter are created, if the configuration names one.
        """
        device = self._directory.at(adapter, event.device)
        if device is not None and event.attrs.get("proved") is False and PSK_IDENTITY in device.aliases:
            # Whoever let it in: nobody moves a device that has a key without proving that he has it too.
            log.warning("%s of device %s, which has a key, was not proved and is refused", event.kind.value, device.id)
            return None
        if event.kind is Heard.REGISTERED:
            return await self._registered(adapter, event, device, home)
        if device is None:
            log.debug("%s from an unknown device of %s", event.kind.value, adapter)
            return None
        match event.kind:
            case Heard.UPDATED:
                return await self._updated(event, device)
            case Heard.DEREGISTERED:
                return await self.gone(device, Registration.DEREGISTERED)
            case Heard.EXPIRED:
                return await self.gone(device, Registration.EXPIRED)
            case Heard.ASLEEP:
                return self._seen(device, Presence.ASLEEP)
            case Heard.OFFLINE:
                return self._seen(device, Presence.OFFLINE)
            case Heard.OBSERVE_ENDED:
                return device  # it may have ended because the device is gone
            case _:
                return self._awake(device)

    async def _registered(
        self, adapter: str, event: DeviceEvent, device: Device | None, home: str | None
    ) -> Device | None:
        attrs, now = event.attrs, self._clock.now()
        new = device is None
        if device is None:
            if home is None:
                log.warning("registration of an unknown device of adapter %s was ignored", adapter)
                return None
            if self._directory.held_device(home, str(attrs.get("id") or event.device)) is not None:
                # A name that anybody may claim must not take the place of a device that is somebody already.
                log.warning("a registration at adapter %s named a device that is another one", adapter)
                return None
            device = Device(
                id=str(attrs.get("id") or event.device), account=home, adapter=adapter, address=event.device,
                created_at=now,
            )
        told = _described(device, attrs, now)
        same_life = (
            device.registration is Registration.REGISTERED
            and device.boot is not None
            and device.boot == told.boot
            and device.resources == told.resources
        )
        if same_life:
            # The same run of the device says hello again (the hub was away, not the device): nothing new to tell.
            if "memory" in attrs:
                await self._directory.put(memory_record(device, attrs["memory"]))
            if told.expires_at != device.expires_at:
                device = await self._edit(device, lambda now: replace(now, expires_at=told.expires_at))
                self._ends_at(device)
            return self._awake(device)
        # Nothing of an earlier life is true any more.
        self._dispatch.cache.drop((adapter, event.device))
        async with self._observe.registering(told, anew=True):
            stored = await self._edit(
                device,
                lambda before: _here(_described(before, attrs, now), now),
                EventKind.REGISTERED,
                memory=attrs.get("memory"),
                new=new,
            )
        audit.info("registered", extra={"device": stored.id, "account": stored.account, "adapter": adapter})
        self._ends_at(stored)
        self._dispatch.queues.wake(stored.adapter, stored.address)
        return stored

    async def _updated(self, event: DeviceEvent, device: Device) -> Device:
        now = self._clock.now()
        told = replace(_described(device, event.attrs, now), registration=Registration.REGISTERED)
        async with self._observe.registering(told, anew=False):
            stored = await self._edit(
                device,
                lambda before: _here(_described(before, event.attrs, now), now),
                EventKind.UPDATED,
                memory=event.attrs.get("memory"),
            )
        self._ends_at(stored)
        self._dispatch.queues.wake(stored.adapter, stored.address)
        return stored

    async def gone(self, device: Device, how: Registration) -> Device:
        """A registration ended, by the device's word or by its age; told once."""
        if device.registration is not Registration.REGISTERED:
            return device
        kind = EventKind.DEREGISTERED if how is Registration.DEREGISTERED else EventKind.EXPIRED
        self._dispatch.cache.drop((device.adapter, device.address))

        def left(before: Device) -> Device:
            # Judged where it is written: a second report of the same end finds it told, and a registration that came
            # meanwhile is not undone by the end of the one before it.
            if before.registration is not Registration.REGISTERED or before.expires_at != device.expires_at:
                return before
            return replace(before, registration=how, presence=Presence.OFFLINE, expires_at=None)

        stored = await self._edit(device, left, kind)
        if stored.registration is not how:
            return stored
        await self._directory.delete(Kind.MEMORY, f"{stored.account}/{stored.id}")
        audit.info(how.value, extra={"device": device.id, "account": device.account, "adapter": device.adapter})
        self._dispatch.ends.remove_device(stored)
        await self._observe.left(stored)
        return stored

    async def remove(self, device: Device) -> None:
        """Take a device out for good: those who were told of its registration are told of its end in the same commit,
        what was not sent to it never will be. Raises NotFound if it is gone already, StorageFailed."""

        def told(device: Device) -> list[EventDraft]:
            registered = device.registration is Registration.REGISTERED
            return self._tell(device, EventKind.DEREGISTERED, _who(device)) if registered else []

        gone = await self._directory.delete_device(device, tell=told)
        self._dispatch.cache.drop((gone.adapter, gone.address))
        self._dispatch.ends.remove_device(gone)
        await self._observe.left(gone)

    def _awake(self, device: Device) -> Device:
        seen = self._seen(device, Presence.ONLINE)
        self._dispatch.queues.wake(device.adapter, device.address)
        return seen

    def _seen(self, device: Device, presence: Presence) -> Device:
        heard = presence is Presence.ONLINE
        seen = replace(device, presence=presence, last_seen=self._clock.now() if heard else device.last_seen)
        self._directory.revise(seen)
        return seen

    def silent(self, adapter: str, address: str) -> bool:
        """A device left an attempt unanswered: one that sleeps between contacts is taken to be asleep until the
        next. Whether it is such a one."""
        device = self._directory.at(adapter, address)
        if device is None or not device.queue_mode:
            return False
        self._dispatch.queues.fell_silent(adapter, address)
        self._seen(device, Presence.ASLEEP)
        return True

    def block_disabled(self) -> None:
        """End what waits for devices that were suspended while the hub was down."""
        waited_for = {(t.call.spec.account, t.call.spec.device) for t in self._dispatch.tickets.values()}
        for account, id in waited_for:
            device = self._directory.held_device(account, id)
            if device is not None and device.disabled:
                self._dispatch.ends.block_device(device)

    async def expire(self) -> None:
        """End the registrations whose time is over."""
        now = self._clock.now()
        while self._ends and self._ends[0][0] <= now:
            at, *whose = entry = self._ends[0]
            owner = (whose[0], whose[1])
            if self._looks.get(owner) == at:
                device = self._directory.device(*owner)
                if device is not None and device.expires_at is not None and device.expires_at <= now:
                    # The entry stays until that is on disk: a failed write is tried again at the next look.
                    await self.gone(device, Registration.EXPIRED)
                if not self._ends or self._ends[0] != entry:
                    continue  # others came before it meanwhile
                del self._looks[owner]
                device = self._directory.device(*owner)
                heapq.heappop(self._ends)
                if device is not None:
                    self._ends_at(device)
            else:
                heapq.heappop(self._ends)

    async def _edit(
        self,
        device: Device,
        change: Callable[[Device], Device],
        kind: EventKind | None = None,
        *,
        memory: bytes | None = None,
        new: bool = False,
    ) -> Device:
        """Change the device as it is when its turn to be written comes, and tell of it in the same commit.

        Raises UnknownDevice when it was deleted or disabled meanwhile.
        """
        changed = False

        def now(before: Device | None) -> Device:
            nonlocal changed
            if before is None and new:
                before = device
            if before is None or before.disabled:
                raise UnknownDevice("the hub has no such device any more")
            after = change(before)
            changed = after is not before
            return after

        def tell(after: Device) -> list[EventDraft]:
            if kind is None or not changed:
                return []
            full = kind in (EventKind.REGISTERED, EventKind.UPDATED)
            return self._tell(after, kind, _registration_body(after) if full else _who(after))

        return await self._directory.edit_device(device.account, device.id, now, tell, memory=memory)

    def moved(self, device: Device) -> None:
        """A device is another adapter's from now on: what waited for it at its old place is not sent any more."""
        self._dispatch.cache.drop((device.adapter, device.address))
        self._dispatch.ends.remove_device(device)

    def doubted(self, device: Device) -> None:
        """A device proves who it is by another key from now on: it is away until it has."""
        self._seen(device, Presence.OFFLINE)

    def _tell(self, device: Device, kind: EventKind, body: dict[str, Any]) -> list[EventDraft]:
        return [
            EventDraft(f"{application.id}/{DEFAULT}", kind, body)
            for application in self._directory.applications(device.account)
        ]


def _here(device: Device, now: datetime) -> Device:
    return replace(device, registration=Registration.REGISTERED, presence=Presence.ONLINE, last_seen=now)


def _described(device: Device, attrs: Any, now: datetime) -> Device:
    """The device with what a registration or an update says of it; what is not said stays."""
    lifetime = attrs.get("lifetime")
    links = attrs.get("links")
    return replace(
        device,
        name=attrs.get("name") or device.name,
        type=attrs.get("type") or device.type,
        queue_mode=bool(attrs.get("queue_mode", device.queue_mode)),
        resources=device.resources if links is None else tuple(links),
        boot=attrs.get("boot") or device.boot,
        expires_at=device.expires_at if lifetime is None else now + timedelta(seconds=float(lifetime)),
        attrs={**device.attrs, **({"location": attrs["location"]} if "location" in attrs else {})},
        created_at=device.created_at or now,
        updated_at=now,
    )


def _who(device: Device) -> dict[str, Any]:
    return {"device": device.id, "name": device.name}


def _registration_body(device: Device) -> dict[str, Any]:
    return {
        **_who(device),
        "type": device.type,
        "queue_mode": device.queue_mode,
        "resources": [_resource_body(resource) for resource in device.resources],
    }


def _resource_body(resource: Resource) -> dict[str, Any]:
    said = {
        "uri": resource.path,
        "rt": resource.resource_type,
        "if": resource.interface,
        "ct": resource.content_type,
        "obs": resource.observable,
    }
    return {key: value for key, value in said.items() if value is not None}
