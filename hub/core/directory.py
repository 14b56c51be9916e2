"""All records in memory, written through to the engine: no request and no handshake waits for the database.

What is known is in `known.py`; here it is changed. One process owns the data, so the revision known here is the
revision in the store; writes of one record stand in line. What a record means is said by those who use it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from hub.core.devices import known_by
from hub.core.known import Known, owner_of
from hub.core.limits import Limits
from hub.core.records import device_of, memory_record, record_of
from hub.core.writes import Writes
from hub.model.device import Device
from hub.model.errors import BadRequest, Conflict, HubError, NotFound, RevisionConflict, TooMany
from hub.model.event import EventDraft
from hub.model.record import Kind, Record
from hub.ports.clock import Clock
from hub.ports.engine import Directory as Store

Change = Callable[[Device | None], Device]
Tell = Callable[[Device], Sequence[EventDraft]]

_MAX_ID = 256
_log = logging.getLogger("hub.directory")


class Directory(Known):
    """The records, as this process knows them. Reads (`Known`) never wait; a write returns once it is on disk."""

    def __init__(self, store: Store, clock: Clock, limits: Limits | None = None) -> None:
        super().__init__()
        self._store = store
        self._clock = clock
        self._limits = limits or Limits()
        self._writes = Writes()
        self._arriving: Counter[str] = Counter()

    async def load(self) -> None:
        """Read every record from the store; to be called once, before anything else. Raises Damaged, StorageFailed."""
        for kind in Kind:
            for record in await self._store.list(kind):
                self._remember(record)

    async def settle(self) -> None:
        """Return when no write is under way; the engine may be stopped after that."""
        await self._writes.settle()

    # Devices: changing.

    async def put_device(
        self,
        device: Device,
        drafts: Sequence[EventDraft] = (),
        *,
        secret: bytes | None = None,
        memory: bytes | None = None,
    ) -> Device:
        """Write a device, new or changed, with the events that tell of it in one commit; returns it as stored.

        Without an address it gets `<account>/<id>`. `secret` becomes the device's sealed credential, `memory` what
        its adapter keeps of it; None leaves either as it is. Presence that is revised while the write is under
        way stays as revised. Raises BadRequest for an impossible id, Conflict (`address-taken`, `alias-taken`) where
        another device holds the place, TooMany (`too-many-devices`), StorageFailed.
        """
        wanted, told = replace(device), tuple(drafts)
        return await self.edit_device(
            device.account, device.id, lambda before: wanted, lambda device: told, secret=secret, memory=memory
        )

    async def edit_device(
        self,
        account: str,
        id: str,
        change: Change,
        tell: Tell | None = None,
        *,
        secret: bytes | None = None,
        memory: bytes | None = None,
    ) -> Device:
        """Change a device from what it is when its turn to be written comes, so that no other write is undone.

        `change(before)` gets the device, disabled or not, or None; what it raises is raised here and nothing is
        written. `tell(after)` gives the events of the same commit. Returning `before` itself, with nothing else to
        write, costs no commit. Otherwise as `put_device`.
        """
        return await self._writes.owned(self._edit(account, id, change, tell, secret, memory))

    def put_device_soon(self, device: Device) -> Device:
        """Know a device at once and write it behind, for decisions that cannot wait; later writes stand in line.

        If the commit fails the device is forgotten again and the failure is logged. Raises as `put_device`
        but for the store.
        """
        device = self._judged(device, self._devices.get(device.account, device.id))
        self._devices.hold(device)
        self._devices.place(device)
        self._writes.start(self._write_behind(device))
        return device

    async def delete_device(
        self, device: Device, drafts: Sequence[EventDraft] = (), *, tell: Tell | None = None
    ) -> Device:
        """Remove a device and its credential with the events that tell of it in one commit; returns it as it was.

        `tell(device)` gives those events for the device as it is when its turn comes. Raises NotFound if it is gone
        already, StorageFailed.
        """
        told = tuple(drafts)
        return await self._writes.owned(self._erase_device(device.account, device.id, tell or (lambda device: told)))

    # Records of every kind: changing.

    async def put(self, record: Record) -> Record:
        """Write a record over whatever is known of it; returns it with its new revision. Raises StorageFailed."""
        if record.kind is Kind.DEVICE:
            await self.put_device(device_of(record), secret=record.secret)
        else:
            await self._writes.owned(self._write(record))
        return self.record(record.kind, record.id) or record

    async def delete(self, kind: Kind, id: str) -> None:
        """Remove a record; one that is gone already is no error. Raises StorageFailed."""
        if kind is not Kind.DEVICE:
            await self._writes.owned(self._erase(kind, id))
        elif (device := self._devices.get(*owner_of(id))) is not None:
            await self.delete_device(device)

    # Writing.

    async def _write(self, record: Record) -> None:
        async with self._writes.line(record.kind, record.id):
            await self._commit([record])

    async def _edit(
        self, account: str, id: str, change: Change, tell: Tell | None, secret: bytes | None, memory: bytes | None
    ) -> Device:
        key = f"{account}/{id}"
        async with self._writes.line(Kind.DEVICE, key):
            before = self._devices.get(account, id)
            wanted = change(before)
            device = self._judged(wanted, before)
            if (device.account, device.id) != (account, id):
                raise ValueError("a change cannot make another device of it")
            drafts = () if tell is None else tuple(tell(device))
            if wanted is before and not drafts and secret is None and memory is None:
                return device
            now = self._clock.now()
            created = device.created_at or (before and before.created_at) or now
            device = replace(device, created_at=created, updated_at=now)
            records = [record_of(device, 0)]
            old = self.record(Kind.CREDENTIAL, key)
            if secret is not None:
                records.append(Record(Kind.CREDENTIAL, key, account, {"kind": "secret"}, secret=secret))
            if before is not None and known_by(before) != known_by(device) and self.record(Kind.MEMORY, key):
                memory = b""  # what was kept says who it was, and where
            if memory is not None:
                records.append(memory_record(device, memory))
            holder = self._devices.held_at(device.adapter, device.address)
            held = self._devices.hold(device)
            self._arriving[account] += before is None
            try:
                async with self._writes.line(Kind.MEMORY, key):
                    await self._commit(records, drafts, {draft.channel: account for draft in drafts}, before)
            except BaseException:
                self._devices.let_go(held)
                raise
            finally:
                self._arriving[account] -= before is None
            if holder is not None and (holder.account, holder.id) != (account, id):
                self.on_displaced(holder)
            after = self._devices.get(account, id) or device
            if old is not None and secret is not None and old.secret != secret and not after.disabled:
                self.on_new_secret(after)
            return self._devices.get(account, id) or after

    async def _write_behind(self, device: Device) -> None:
        try:
            await self._edit(device.account, device.id, lambda before: replace(before or device), None, None, None)
        except HubError as error:
            if (Kind.DEVICE, f"{device.account}/{device.id}") not in self._revisions:
                self._devices.remove(device.account, device.id)
            _log.warning("a device could not be stored: %s", error)
            raise

    async def _commit(
        self,
        records: Sequence[Record],
        drafts: Sequence[EventDraft] = (),
        accounts: Mapping[str, str] | None = None,
        before: Device | None = None,
    ) -> None:
        current = [replace(record, revision=self._revisions.get((record.kind, record.id), 0)) for record in records]
        try:
            stored = await self._store.put(current, drafts, accounts or {})
        except RevisionConflict:
            # Nothing in this process writes past this line of waiters, so memory was wrong: look again.
            for record in current:
                await self._look_again(record.kind, record.id)
            raise
        for record in stored:
            self._remember(record, before)

    async def _erase(self, kind: Kind, id: str) -> None:
        async with self._writes.line(kind, id):
            record = self.record(kind, id)
            if record is not None:
                await self._store.delete([record])
                self._forget(kind, id)

    async def _erase_device(self, account: str, id: str, tell: Tell) -> Device:
        key = f"{account}/{id}"
        async with self._writes.line(Kind.DEVICE, key), self._writes.line(Kind.MEMORY, key):
            device, known = self._devices.get(account, id), self.record(Kind.DEVICE, key)
            if device is None or known is None:
                raise NotFound("no such device", code="device-not-found")
            drafts = tuple(tell(device))
            beside = (self.record(Kind.CREDENTIAL, key), self.record(Kind.MEMORY, key))
            doomed = [known, *(record for record in beside if record is not None)]
            await self._store.delete(doomed, drafts, {draft.channel: account for draft in drafts})
            for record in doomed:
                self._forget(record.kind, record.id)
            return device

    async def _look_again(self, kind: Kind, id: str) -> None:
        record = await self._store.get(kind, id)
        if record is None:
            self._forget(kind, id)
        else:
            self._remember(record)

    def _judged(self, device: Device, before: Device | None) -> Device:
        if not 0 < len(device.id) <= _MAX_ID or "/" in device.id or not device.id.isprintable():
            raise BadRequest("a device id has 1 to 256 printable characters and no slash", code="bad-device-id")
        # Those on their way to the disk count, so that a crowd of new devices cannot run past the limit together.
        count = self._devices.count(device.account) + self._arriving[device.account]
        if before is None and count >= self._limits.devices_per_account:
            raise TooMany("the account has too many devices", code="too-many-devices")
        if not device.address:
            return replace(device, address=f"{device.account}/{device.id}")
        owner = device.address.partition("/")[0]
        if owner != device.account and "/" in device.address and owner in self._records[Kind.ACCOUNT]:
            # The default addresses of another account are its own, taken yet or not.
            raise Conflict("the address is in use", code="address-taken")
        return device
