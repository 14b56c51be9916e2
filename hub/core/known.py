"""What this process knows of all records: look-ups that never wait, and who follows them.

Devices are kept as model values in an index of their own (`devices.py`); every other kind stays a Record. How a record
gets here from the store, and back: `directory.py`. What it means is said by those who use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hub.core.devices import Devices, known_by
from hub.core.records import account_of, application_of, device_of, record_of
from hub.model.device import Device
from hub.model.record import Kind, Record
from hub.model.tenant import Account, Application

Changed = Callable[[str, Record | None], None]


class Known:
    """The records in memory, as last committed."""

    def __init__(self) -> None:
        self._devices = Devices()
        self._records: dict[Kind, dict[str, Record]] = {kind: {} for kind in Kind}
        self._revisions: dict[tuple[Kind, str], int] = {}
        self._followers: dict[Kind, list[Changed]] = {}
        self.on_left: Callable[[Device], None] = _nobody
        """Told of a device, as it was, that is disabled now; and of one, disabled or not, that is deleted, moved or
        known by another PSK identity."""
        self.on_back: Callable[[Device], None] = _nobody
        """Told of a device that was disabled and is no longer."""
        self.on_displaced: Callable[[Device], None] = _nobody
        """Told of a disabled device whose place another one has from now on."""
        self.on_new_secret: Callable[[Device], None] = _nobody
        """Told of a device that proves who it is by another secret from now on."""

    def follow(self, kind: Kind, changed: Changed) -> None:
        """Call `changed(id, record or None)` for every record of the kind: those known now, and each later change."""
        self._followers.setdefault(kind, []).append(changed)
        for record in self.records(kind):
            changed(record.id, record)

    # Devices.

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

    def held_at(self, adapter: str, address: str) -> Device | None:
        """As `at`, but a disabled one is found too, until another takes its place."""
        return self._devices.held_at(adapter, address)

    def held_by_alias(self, kind: str, value: str) -> Device | None:
        """As `by_alias`, but a disabled one is found too, until another takes its place."""
        return self._devices.held_by_alias(kind, value)

    def everywhere(self, id: str) -> list[Device]:
        """The enabled devices with this id in any account: for a device that says its id and not its account."""
        return self._devices.everywhere(id)

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

    # Kept in step with the store.

    def _remember(self, record: Record, before: Device | None = None) -> None:
        self._revisions[record.kind, record.id] = record.revision
        if record.kind is Kind.DEVICE:
            device = device_of(record)
            now = self._devices.get(device.account, device.id)
            if before is not None and now is not None and now is not before:
                device = replace(device, presence=now.presence, last_seen=now.last_seen)
            self._devices.place(device)
            moved = now is not None and known_by(now) != known_by(device)
            if now is not None and (moved or (device.disabled and not now.disabled)):
                self.on_left(now)
            if now is not None and now.disabled and not device.disabled:
                self.on_back(device)
        else:
            self._records[record.kind][record.id] = record
        for changed in self._followers.get(record.kind, ()):
            changed(record.id, record)

    def _forget(self, kind: Kind, id: str) -> None:
        self._revisions.pop((kind, id), None)
        if kind is Kind.DEVICE:
            gone = self._devices.get(*owner_of(id))
            self._devices.remove(*owner_of(id))
            if gone is not None:
                self.on_left(gone)
        else:
            self._records[kind].pop(id, None)
        for changed in self._followers.get(kind, ()):
            changed(id, None)


def _nobody(device: Device) -> None:
    """Nobody needs to know: there are no adapters yet."""


def owner_of(record_id: str) -> tuple[str, str]:
    """Account and id of the device that a record is about."""
    return record_id.partition("/")[0], record_id.partition("/")[2]
