"""What the hub gives to one adapter: events in, admission, checkpoints, secrets, background tasks.

An adapter sees this object and nothing else of the core.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.core.products import service_members
from hub.core.records import memory_record
from hub.core.signed import SignedDevices
from hub.core.tasks import Tasks
from hub.model.device import Registration
from hub.model.errors import NotTaken, Refusal, StorageFailed, UnknownDevice
from hub.model.ids import CallId
from hub.model.outcome import Ending
from hub.model.record import Kind
from hub.model.target import parse_target
from hub.ports.adapter import (
    Admission,
    AdmissionRefused,
    Delivery,
    DeviceEvent,
    EventKind,
    NotConnected,
)
from hub.ports.clock import Clock
from hub.ports.past_call import PastCall

if TYPE_CHECKING:
    from hub.core.hub import Hub

MOST_EVENTS = 10_000
_UNKNOWN = {Ending.UNKNOWN, Ending.TIMED_OUT}
_REGISTRATION = {EventKind.REGISTERED, EventKind.UPDATED, EventKind.DEREGISTERED, EventKind.EXPIRED}

log = logging.getLogger("hub.adapters")


class Context:
    """One adapter's view of the hub; implements `AdapterContext`, `Remembers`, `HoldsKeys` and `WatchesKeys` of
    `ports.adapter`, and `RecallsCalls`."""

    def __init__(self, hub: Hub, name: str, settings: Mapping[str, Any]) -> None:
        self._hub = hub
        self._tasks = Tasks()
        self._registering: dict[str, asyncio.Event] = {}
        self._events = 0
        self._signed = SignedDevices(hub.directory, hub.products, hub.access, hub.stats)
        self.name = name
        self.settings = settings
        self.clock: Clock = hub.clock

    def emit(self, event: DeviceEvent) -> bool:
        """Hand an event over without waiting; False when too many wait already and it was shed."""
        if self._events >= MOST_EVENTS:
            self._hub.stats.events_shed += 1
            return False
        self._events += 1
        task = self._tasks.create_task(self._emitted(event), f"{self.name}: {event.kind.value}")
        task.add_done_callback(self._emitted_one)
        return True

    def _emitted_one(self, _: asyncio.Task[Any]) -> None:
        self._events -= 1

    async def _emitted(self, event: DeviceEvent) -> None:
        try:
            await self.accept(event)
        except UnknownDevice as unknown:
            log.debug("%s", unknown)
        except StorageFailed as failure:
            # Nobody waits for an emitted event; the engine's health says what is wrong.
            self._hub.stats.events_shed += 1
            log.warning("%s: an event could not be stored: %s", self.name, failure)

    async def accept(self, event: DeviceEvent) -> None:
        """Hand an event over; returns once what it tells is on disk. Raises StorageFailed, UnknownDevice."""
        hub = self._hub
        hub.stats.device_events += 1
        if event.kind is EventKind.LATE_RESPONSE:
            await hub.dispatch.late(self.name, event)
            return
        # What a device says of itself is heard in its order: nothing overtakes a registration that is being written.
        while (writing := self._registering.get(event.device)) is not None:
            await writing.wait()
        if event.kind not in _REGISTRATION:
            await self._heard(event)
            return
        writing = self._registering[event.device] = asyncio.Event()
        try:
            await self._heard(event)
        except Refusal as refused:
            log.warning("%s: %s of a device was refused: %s", self.name, event.kind.value, refused)
            raise NotTaken("the event was not taken") from refused
        finally:
            del self._registering[event.device]
            writing.set()

    async def _heard(self, event: DeviceEvent) -> None:
        hub = self._hub
        home = self.settings.get("account")
        device = await hub.presence.hear(self.name, event, home if isinstance(home, str) else None)
        if device is None:
            raise UnknownDevice(f"{self.name}: {event.kind.value} of a device that the hub does not know")
        if event.kind is EventKind.REGISTERED:
            hub.observe.renew(device)
        elif event.kind in (EventKind.UPDATED, EventKind.AWAKE):
            hub.observe.appeared(device)
        elif event.kind is EventKind.OBSERVE_ENDED:
            hub.observe.ended(device, event.target or "")
        elif event.kind is EventKind.NOTIFICATION:
            await hub.observe.notified(device, event)

    async def admit(self, kind: str, identity: str, proof: str | bytes | None) -> Admission | AdmissionRefused:
        """Ask who a dialling device is (decisions A3)."""
        if kind in SignedDevices.kinds:
            verdict = await self._signed.admit(kind, identity, proof, self.name)
        else:
            verdict = self._hub.access.admit(kind, identity, proof, self.name)
        if isinstance(verdict, AdmissionRefused):
            log.info("%s: a device was not admitted: %s", self.name, verdict.reason)
        return verdict

    def watch_key(self, key_id: str, revoked: Callable[[], None]) -> Callable[[], None]:
        """Call `revoked` once, when the key no longer lets a device in; returns the unwatch."""
        return self._hub.access.watch(key_id, revoked)

    async def checkpoint(self, call_id: str, note: bytes) -> float:
        """Store the note; the call is WAITING from then on. Raises NotConnected if the call has ended."""
        ticket = self._hub.dispatch.tickets.get(CallId(call_id))
        if ticket is None or ticket.call.adapter != self.name:
            raise NotConnected("no such open call", delivery=Delivery.MAYBE)
        return await self._hub.dispatch.attempts.checkpoint(ticket, note)

    async def remember(self, device: str, memory: bytes) -> None:
        """Keep what the adapter needs to go on with a registered device after a restart. Raises StorageFailed, and
        UnknownDevice where it is not registered."""
        known = self._hub.directory.held_at(self.name, device)
        if known is None or known.registration is not Registration.REGISTERED:
            raise UnknownDevice(f"{self.name}: nothing is kept of a device that is not registered")
        await self._hub.directory.put(memory_record(known, memory))

    def services(self, device: str) -> Mapping[str, Mapping[str, Any]] | None:
        """The services that the product of a device declares, by id; None for a device of no product."""
        known = self._hub.directory.at(self.name, device)
        product = None if known is None else self._hub.products.of_device(known)
        return None if product is None else {id: service_members(told) for id, told in product.services.items()}

    def memories(self, *, disabled: bool = False) -> Mapping[str, bytes]:
        """What is kept of this adapter's registered devices, by address."""
        kept, directory = {}, self._hub.directory
        for record in directory.records(Kind.MEMORY):
            device = directory.held_device(record.account, record.id.partition("/")[2])
            memory = bytes(record.body["memory"])
            if device is None or device.adapter != self.name or not memory or (device.disabled and not disabled):
                continue
            if device.disabled and directory.held_at(self.name, device.address) is not device:
                continue  # another has its place now
            if device.registration is Registration.REGISTERED:
                kept[device.address] = memory
        return kept

    def address_of(self, identity: str) -> str | None:
        """The address of this adapter's enabled device of this product key and device key."""
        known = self._hub.directory.by_alias("product-device", identity)
        return known.address if known is not None and known.adapter == self.name else None

    def has_device(self, identity: str) -> bool:
        """Whether a device of this adapter, disabled or not, is of this product key and device key."""
        known = self._hub.directory.held_by_alias("product-device", identity)
        return known is not None and known.adapter == self.name

    def psk(self, identity: str) -> bytes | None:
        """The pre-shared key of a device of this adapter, by its identity."""
        return self._hub.access.psk(identity, self.name)

    async def calls_since(self, since: datetime) -> AsyncIterator[PastCall]:
        """The adapter's calls that were open at `since` or later. Raises HubError when they cannot be read."""
        async for page in self._hub.engine.journal.under_way_since(self.name, since):
            for state in page:
                spec, outcome = state.call.spec, state.outcome
                if spec.method != "INVOKE":
                    path = parse_target(spec.target).path
                    unknown = outcome is not None and outcome.ending in _UNKNOWN
                    yield PastCall(state.call.address, spec.method, path, state.ended_at, state.note, unknown)

    def secret(self, ref: str) -> bytes:
        """A secret that the settings name: `env:NAME` or `file:PATH`. KeyError if there is none."""
        scheme, _, where = ref.partition(":")
        if scheme == "env" and where in os.environ:
            return os.environ[where].encode()
        if scheme == "file" and Path(where).is_file():
            return Path(where).read_bytes().rstrip(b"\r\n")
        raise KeyError(ref)

    def spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a background task of the adapter: a failure is logged, and it ends with the adapter at the latest."""
        return self._tasks.create_task(coro, f"{self.name}: {name}")

    async def close(self) -> None:
        """Cancel what still runs and wait for it."""
        await self._tasks.close()
