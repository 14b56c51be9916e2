"""All records in memory, written through to the engine: no request and no handshake waits for the database.

Devices are kept as model values in an index of their own (`devices.py`); every other kind stays a Record.
One process owns the data, so the revision known here is the revision in the store; writes of one
record stand in line. What a record means is said by those who use it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from hub.core.devices import Devices, known_by
from hub.core.limits import Limits
from hub.core.records import account_of, application_of, device_of, memory_record, record_of
from hub.core.writes import Writes
from hub.model.device import Device
from hub.model.errors import BadRequest, Conflict, HubError, NotFound, RevisionConflict, TooMany
from hub.model.event import EventDraft
from hub.model.record import Kind, Record
from hub.model.tenant import Account, Application
from hub.ports.clock import Clock
from hub.ports.engine import Directory as Store

Changed = Callable[[str, Record | None], None]
Change = Callable[[Device | None], Device]
Tell = Callable[[Device], Sequence[EventDraft]]

_MAX_ID = 256
_log = logging.getLogger("hub.directory")


class Directory:
    """The records, as this process knows them. Reads never wait; a write returns once it is on disk."""

    def __init__(self, store: Store, clock: Clock, limits: Limits | None = None) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits or Limits()
        self._devices = Devices()
        self._records: dict[Kind, dict[str, Record]] = {kind: {} for kind in Kind}
        self._revisions: dict[tuple[Kind, str], int] = {}
        self._writes = Writes()
        self._followers: dict[Kind, list[Changed]] = {}
        self._arriving: Counter[str] = Counter()
        self.on_left: Callable[[Device], None] = _nobody
        """Told of a device, as it was, that is deleted, disabled, moved or known by another PSK identity now."""

    async def load(self) -> None:
        """Read every record from the store; to be called once, before anything else. Raises Damaged, StorageFailed."""
        for kind in Kind:
            for record in await self._store.list(kind):
                self._remember(record)

    async def settle(self) -> None:
        """Return when no write is under way; the engine may be stopped after that."""
        await self._writes.settle()

    def follow(self, kind: Kind, changed: Changed) -> None:
        """Call `changed(id, record or None)` for every record of the kind: those known now, and each later change."""
        self._followers.setdefault(kind, []).append(changed)
        for record in self.records(kind):
            changed(record.id, record)

    # Devices: looking.

    def device(self, account: str, named: str, alias_kinds: Sequence[str] = ()) -> Device | None:
        """The device of that account by id, else by an alias of these kinds; None if missing or disabled."""
        return self._devices.named(account, named, alias_kinds)

    def by_alias(self, kind: str, value: str) -> Device | None:
        """The enabled device with this alias of a kind that is unique in the hub (`HUB_WIDE_ALIASES`)."""
        return self._devices.by_alias(kind, value)

    def by_name(self, account: str, name: str) -> Device | None:
        """The device of that account with this endpoint name, when exactly one enabled device has it."""
        return self._devices.by_name(account, name)

    def devices(self, account: str) -> list[Device]:
        """All enabled devices of the account, by id."""
        return self._devices.of(account)

    def all_devices(self) -> list[Device]:
        """Every enabled device of every account, in no order: what is rebuilt after a start."""
        return [device for device in self._devices if not device.disabled]

    def held_device(self, account: str, id: str) -> Device | None:
        """As `device` by id, but a disabled one is found too: for those who declare and enable."""
        return self._devices.get(account, id)

    def at(self, adapter: str, address: str) -> Device | None:
        """The enabled device that the adapter calls by this address, in the whole hub."""
        return self._devices.at(adapter, address)

    def everywhere(self, id: str) -> list[Device]:
        """The enabled devices with this id in any account: for a device that says its id and not its account."""
        return self._devices.everywhere(id)

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

    def revise(self, device: Device) -> None:
        """Change a known device in memory only: presence and last_seen, what is rebuilt after a restart.

        A device that was deleted meanwhile stays deleted.
        """
        if self._devices.get(device.account, device.id) is not None:
            self._devices.place(device)

    # Tenants.

    def account(self, id: str) -> Account | None:
        """The account, disabled or not; None if there is none."""
        record = self._records[Kind.ACCOUNT].get(id)
        return None if record is None else account_of(record)

    def application(self, id: str) -> Application | None:
        """The application, disabled or not; None if there is none."""
        record = self._records[Kind.APPLICATION].get(id)
        return None if record is None else application_of(record)

    def applications(self, account: str) -> list[Application]:
        """The enabled applications of the account, by id."""
        found = (application_of(record) for record in self.records(Kind.APPLICATION, account))
        return [application for application in found if not application.disabled]

    # Records of every kind.

    def record(self, kind: Kind, id: str) -> Record | None:
        """One record as last committed; a device's (id `<account>/<device>`) is built from what memory knows."""
        if kind is not Kind.DEVICE:
            return self._records[kind].get(id)
        account, _, device_id = id.partition("/")
        device = self._devices.get(account, device_id)
        return None if device is None else record_of(device, self._revisions.get((kind, id), 0))

    def records(self, kind: Kind, account: str | None = None) -> list[Record]:
        """All records of a kind, of one account or of all, by id."""
        if kind is Kind.DEVICE:
            ids = (f"{device.account}/{device.id}" for device in self._devices if account in (None, device.account))
            return [record for id in sorted(ids) if (record := self.record(kind, id)) is not None]
        kept = self._records[kind]
        return [kept[id] for id in sorted(kept) if account is None or kept[id].account == account]

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
        elif (device := self._devices.get(*_owner(id))) is not None:
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
            if secret is not None:
                records.append(Record(Kind.CREDENTIAL, key, account, {"kind": "secret"}, secret=secret))
            if before is not None and known_by(before) != known_by(device) and self.record(Kind.MEMORY, key):
                memory = b""  # what was kept says who it was, and where
            if memory is not None:
                records.append(memory_record(device, memory))
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
            return self._devices.get(account, id) or device

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

    # Memory.

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

    def _remember(self, record: Record, before: Device | None = None) -> None:
        self._revisions[record.kind, record.id] = record.revision
        if record.kind is Kind.DEVICE:
            device = device_of(record)
            now = self._devices.get(device.account, device.id)
            if before is not None and now is not None and now is not before:
                device = replace(device, presence=now.presence, last_seen=now.last_seen)
            self._devices.place(device)
            moved = now is not None and known_by(now) != known_by(device)
            if now is not None and not now.disabled and (moved or device.disabled):
                self.on_left(now)
        else:
            self._records[record.kind][record.id] = record
        for changed in self._followers.get(record.kind, ()):
            changed(record.id, record)

    def _forget(self, kind: Kind, id: str) -> None:
        self._revisions.pop((kind, id), None)
        if kind is Kind.DEVICE:
            gone = self._devices.get(*_owner(id))
            self._devices.remove(*_owner(id))
            if gone is not None and not gone.disabled:
                self.on_left(gone)
        else:
            self._records[kind].pop(id, None)
        for changed in self._followers.get(kind, ()):
            changed(id, None)


def _nobody(device: Device) -> None:
    """Nobody needs to know: there are no adapters yet."""


def _owner(record_id: str) -> tuple[str, str]:
    return record_id.partition("/")[0], record_id.partition("/")[2]
