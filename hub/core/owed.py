"""Outcomes that were promised to those who subscribed: who is owed one, on disk, until it is told.

A dialect may answer a subscription by an id, under which its outcome comes on the application's channel: the present
value, or why there is none. Exactly one is told for each promise; a crash in between may tell it twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hub.core.channels import DEFAULT
from hub.core.directory import Directory
from hub.core.wants import Owner
from hub.model.device import Device
from hub.model.errors import StorageFailed, TooMany
from hub.model.event import EventDraft, EventKind
from hub.model.outcome import Ending
from hub.model.record import Kind, Record
from hub.ports.adapter import DeviceResponse
from hub.ports.clock import Clock
from hub.ports.engine import ChannelLog

MOST = 1000
CANCELLED = DeviceResponse(409, native={"error": "CANCELLED"})
LEFT = DeviceResponse(429, native={"error": "DEVICE_REMOVED_REGISTRATION"})

log = logging.getLogger("hub.observe")


@dataclass(frozen=True, slots=True)
class _Promise:
    application: str
    path: str
    ref: str


class Owed:
    """All promises, by device."""

    def __init__(self, directory: Directory, channel_log: ChannelLog, clock: Clock) -> None:
        self._directory = directory
        self._log = channel_log
        self._clock = clock
        self._promises: dict[Owner, list[_Promise]] = {}
        self._rooms: Counter[tuple[str, Owner]] = Counter()

    def load(self) -> None:
        """Know the stored ones. Call after the directory was loaded."""
        for record in self._directory.records(Kind.OWED):
            body = record.body
            promise = _Promise(str(body["application"]), str(body["path"]), record.id)
            self._promises.setdefault((record.account, str(body["device"])), []).append(promise)

    def owners(self) -> list[Owner]:
        """The devices about which somebody is owed an outcome."""
        return list(self._promises)

    @contextmanager
    def room(self, application: str, owner: Owner) -> Iterator[None]:
        """Keep room for one promise within the block. Raises TooMany."""
        place = (application, owner)
        there = sum(1 for known in self._promises.get(owner, ()) if known.application == application)
        if there + self._rooms[place] >= MOST:
            raise TooMany(f"at most {MOST} outcomes of subscriptions to a device", code="too-many-observations")
        self._rooms[place] += 1
        try:
            yield
        finally:
            self._rooms[place] -= 1
            if not self._rooms[place]:
                del self._rooms[place]

    async def promise(self, application: str, device: Device, path: str, ref: str) -> None:
        """Remember that the application is owed an outcome with this id; it has `room`. Raises StorageFailed."""
        promises = self._promises.setdefault((device.account, device.id), [])
        promise = _Promise(application, path, ref)
        promises.append(promise)
        body = {"application": application, "device": device.id, "path": path}
        try:
            await self._directory.put(Record(Kind.OWED, ref, device.account, body))
        except BaseException:
            self._drop((device.account, device.id), promise)
            raise

    async def pay(self, owner: Owner, path: str, answer: DeviceResponse, application: str | None = None) -> set[str]:
        """Tell the outcome to those who are owed one of this resource, or to one of them; returns who was told.

        Raises StorageFailed; then they are owed it still.
        """
        due = [
            promise
            for promise in self._promises.get(owner, ())
            if promise.path == path and application in (None, promise.application)
        ]
        return await self._settle(owner, due, answer)

    async def cancel(self, owner: Owner, wanted: Mapping[str, Collection[str]], answer: DeviceResponse) -> None:
        """Tell this to all who are owed an outcome of a resource that they do not want any more (`wanted` by
        application). What cannot be stored now is told at the next occasion."""
        due = [
            promise
            for promise in self._promises.get(owner, ())
            if promise.path not in wanted.get(promise.application, ())
        ]
        try:
            await self._settle(owner, due, answer)
        except StorageFailed as failure:
            log.warning("the end of a subscription could not be told: %s", failure)

    async def _settle(self, owner: Owner, due: list[_Promise], answer: DeviceResponse) -> set[str]:
        if not due:
            return set()
        # Out of memory first, so that nobody else tells them meanwhile.
        for promise in due:
            self._drop(owner, promise)
        drafts = [
            EventDraft(f"{one.application}/{DEFAULT}", EventKind.COMPLETION, self.outcome(owner, one.ref, answer))
            for one in due
        ]
        try:
            await self._log.append(drafts, {draft.channel: owner[0] for draft in drafts})
        except BaseException:
            self._promises.setdefault(owner, []).extend(due)
            raise
        for promise in due:
            await self._directory.delete(Kind.OWED, promise.ref)
        return {promise.application for promise in due}

    def _drop(self, owner: Owner, promise: _Promise) -> None:
        promises = self._promises.get(owner, [])
        if promise in promises:
            promises.remove(promise)
        if not promises:
            self._promises.pop(owner, None)

    def outcome(self, owner: Owner, ref: str, answer: DeviceResponse) -> dict[str, Any]:
        """The body of the event that tells how a subscription went."""
        good, device = answer.status < 300, self._directory.device(*owner)
        return {
            "call_id": "",
            "ref": ref,
            "device": owner[1],
            "name": None if device is None else device.name,
            "status": 200 if good else answer.status,
            "payload": answer.payload,
            "content_type": answer.content_type,
            "max_age": answer.max_age if good else None,
            "error": None if good else str(answer.native.get("error", "DEVICE_ERROR")),
            "ending": (Ending.ANSWERED if good else Ending.REFUSED).value,
            "dialect": "",
            "echo": {},
            "ended_at": self._clock.now().isoformat(timespec="milliseconds"),
            "native": dict(answer.native),
        }
