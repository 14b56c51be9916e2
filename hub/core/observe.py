"""Wanted observations: who wants to be told of which resource, and the running observation that serves them all.

A want is a record (application, device, path) and outlives devices and the hub. There is one observation per (device,
path), whoever wants it, and one event per wanting application, all in one commit (decisions H1). After a device
registered again the core renews its observations; an adapter only reports that one ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from hub.core.channels import DEFAULT
from hub.core.directory import Directory
from hub.core.ending import backoff
from hub.core.tasks import Tasks
from hub.model.device import Device, Presence
from hub.model.errors import MethodNotAllowed, NotFound, StorageFailed
from hub.model.event import EventDraft, EventKind
from hub.model.record import Kind, Record
from hub.ports.adapter import Adapter, CallError, DeviceEvent, DeviceResponse, Observation, ObserveSpec, Unsupported
from hub.ports.clock import Clock
from hub.ports.engine import ChannelLog

OBSERVE_TIME = 30.0

log = logging.getLogger("hub.observe")

Watched = tuple[str, str, str]


@dataclass(slots=True)
class _Running:
    """The one observation of a (device, path): starting while `observation` is None."""

    observation: Observation | None = None
    task: asyncio.Task[None] | None = None


class Observing:
    """Keeps the wanted observations running."""

    def __init__(
        self, directory: Directory, adapters: Mapping[str, Adapter], channel_log: ChannelLog, clock: Clock
    ) -> None:
        self._directory = directory
        self._adapters = adapters
        self._log = channel_log
        self._clock = clock
        self._wants: dict[Watched, set[str]] = {}
        self._running: dict[Watched, _Running] = {}
        self._tasks: Tasks | None = None

    def load(self) -> None:
        """Know the stored wants. Call after the directory was loaded."""
        for record in self._directory.records(Kind.WANT):
            key = (record.account, str(record.body["device"]), str(record.body["path"]))
            self._wants.setdefault(key, set()).add(str(record.body["application"]))

    def go(self, tasks: Tasks) -> None:
        """Begin to observe, for devices that are online already too."""
        self._tasks = tasks
        for account, device_id, _ in list(self._wants):
            device = self._directory.device(account, device_id)
            if device is not None and device.presence is Presence.ONLINE:
                self.renew(device)

    def halt(self) -> None:
        """Start nothing more."""
        self._tasks = None

    def wanted(self, application: str, device: Device) -> list[str]:
        """The paths of a device that the application wants, in order."""
        return sorted(
            path
            for (account, device_id, path), applications in self._wants.items()
            if (account, device_id) == (device.account, device.id) and application in applications
        )

    async def want(self, application: str, device: Device, path: str) -> bool:
        """Remember a want and start observing; True if it is new.

        Raises NotFound for a resource that the device does not have, MethodNotAllowed for one that cannot be observed.
        """
        adapter = self._adapters.get(device.adapter)
        if adapter is not None and adapter.capabilities.observe == "none":
            raise MethodNotAllowed("this device offers no observation", code="not-observable")
        if device.resources and not any(r.path == path and r.observable for r in device.resources):
            if not any(r.path == path for r in device.resources):
                raise NotFound("no such resource", code="resource-not-found")
            raise MethodNotAllowed("this resource cannot be observed", code="not-observable")
        key = (device.account, device.id, path)
        applications = self._wants.setdefault(key, set())
        if application in applications:
            return False
        await self._directory.put(_record(application, key))
        self._wants.setdefault(key, set()).add(application)
        self._start(device, path)
        return True

    async def unwant(self, application: str, device: Device, path: str) -> bool:
        """Forget a want; the observation ends with the last of them. False if there was none."""
        key = (device.account, device.id, path)
        applications = self._wants.get(key, set())
        if application not in applications:
            return False
        await self._directory.delete(Kind.WANT, _record(application, key).id)
        applications.discard(application)
        if not applications:
            self._wants.pop(key, None)
            await self._stop(key)
        return True

    async def _stop(self, key: Watched) -> None:
        running = self._running.pop(key, None)
        if running is None:
            return
        if running.task is not None:
            running.task.cancel()
        if running.observation is not None:
            await running.observation.cancel()

    def renew(self, device: Device) -> None:
        """The device registered (again): whatever was observed before is gone, whatever is wanted is started."""
        for key in list(self._wants):
            if key[:2] == (device.account, device.id):
                running = self._running.pop(key, None)
                if running is not None and running.task is not None:
                    running.task.cancel()
                self._start(device, key[2])

    def ended(self, device: Device, path: str) -> None:
        """An observation ended by itself: start it again while it is wanted and the device is there."""
        key = (device.account, device.id, path)
        running = self._running.pop(key, None)
        if running is not None and running.task is not None:
            running.task.cancel()
        if key in self._wants and device.presence is Presence.ONLINE:
            self._start(device, path)

    def _start(self, device: Device, path: str) -> None:
        key = (device.account, device.id, path)
        if self._tasks is None or key in self._running or device.adapter not in self._adapters:
            return
        running = self._running[key] = _Running()
        running.task = self._tasks.create_task(self._establish(key, running), name=f"observe {path}")

    async def _establish(self, key: Watched, running: _Running) -> None:
        tries = 0
        while self._running.get(key) is running and key in self._wants:
            account, device_id, path = key
            device = self._directory.device(account, device_id)
            adapter = None if device is None else self._adapters.get(device.adapter)
            if device is None or adapter is None:
                break
            try:
                response, observation = await adapter.observe(
                    ObserveSpec(device.address, path), self._clock.monotonic() + OBSERVE_TIME
                )
            except Unsupported as error:
                log.info("%s of device %s cannot be observed: %s", path, device_id, error)
                break
            except CallError as error:
                log.info("observing %s of device %s failed, trying again: %s", path, device_id, error)
                await self._clock.sleep_until(self._clock.monotonic() + backoff(tries))
                tries += 1
                continue
            running.observation = observation
            running.task = None
            if response.status < 300 and self._running.get(key) is running:
                await self._append(device, path, response)
            return
        if self._running.get(key) is running:
            del self._running[key]

    async def notified(self, device: Device, event: DeviceEvent) -> None:
        """A value came: tell every application that wants it; returns once that is on disk. Raises StorageFailed."""
        response = DeviceResponse(
            200, event.payload, event.content_type, event.attrs.get("max_age"),
        )
        await self._tell(device, event.target or "", response, event.seq)

    async def _append(self, device: Device, path: str, response: DeviceResponse) -> None:
        try:
            await self._tell(device, path, response, None)
        except StorageFailed as failure:
            log.warning("the first value of %s could not be stored: %s", path, failure)

    async def _tell(self, device: Device, path: str, value: DeviceResponse, seq: int | None) -> None:
        applications = self._wants.get((device.account, device.id, path))
        if not applications:
            return
        body = {
            "device": device.id,
            "name": device.name,
            "path": path,
            "payload": value.payload,
            "content_type": value.content_type,
            "max_age": value.max_age,
            "seq": seq,
        }
        channels = {f"{application}/{DEFAULT}": device.account for application in sorted(applications)}
        await self._log.append([EventDraft(name, EventKind.NOTIFICATION, body) for name in channels], channels)


def _record(application: str, key: Watched) -> Record:
    account, device, path = key
    body = {"application": application, "device": device, "path": path}
    return Record(Kind.WANT, f"{application}/{device}{path}", account, body)
