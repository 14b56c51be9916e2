"""Brings what the configuration declares into the directory, so that from then on one place knows it.

An item that vanished from the configuration is disabled, never deleted, and one that came back is enabled
(decisions L3). What did not change is not written, so a start costs no commits.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping
from dataclasses import replace

from hub.core.access import Access
from hub.core.directory import Directory
from hub.core.records import account_of, account_record, application_of, application_record, key_of
from hub.core.users import digest_of, user_of, user_record
from hub.model.device import Device
from hub.model.errors import Refusal
from hub.model.principal import Scope
from hub.model.record import Kind, Record
from hub.model.schema import SCHEMA
from hub.model.tenant import Account, Application, User
from hub.settings.contradictions import application_secret, device_secret, key_secret, user_password
from hub.settings.schema import DeviceTable, Settings, SettingsError

_log = logging.getLogger("hub.declared")
_audit = logging.getLogger("hub.audit")


class Declared:
    """The declared items of one configuration, on their way into one directory."""

    def __init__(
        self, settings: Settings, directory: Directory, access: Access, environ: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._access = access
        self._environ = environ

    async def bring(self) -> None:
        """Make the directory agree with the configuration. Raises SettingsError where an item of the data folder
        stands in the way, StorageFailed."""
        await self._accounts()
        await self._applications()
        await self._keys()
        await self._devices()
        await self._users()

    async def _accounts(self) -> None:
        declared = self._settings.accounts
        for id, table in declared.items():
            await self._put(account_record(Account(id, table.name, declared=True)))
        for record in self._directory.records(Kind.ACCOUNT):
            account = account_of(record)
            if account.declared and not account.disabled and account.id not in declared:
                await self._put(account_record(replace(account, disabled=True)))

    async def _applications(self) -> None:
        declared = self._settings.applications
        for id, table in declared.items():
            known = self._directory.application(id)
            if known is not None and known.account != table.account:
                raise SettingsError(f"applications.{id}.account: the application belongs to {known.account!r} already")
            secret = application_secret(self._settings, id, self._environ)
            sealed = None if secret is None else secret.encode()
            await self._put(application_record(Application(id, table.account, table.name, sealed, declared=True)))
        for record in self._directory.records(Kind.APPLICATION):
            application = application_of(record)
            if application.declared and not application.disabled and application.id not in declared:
                await self._put(application_record(replace(application, disabled=True)))

    async def _keys(self) -> None:
        declared = self._settings.keys
        # Vanished keys first: their secrets may come back under another id.
        for record in self._directory.records(Kind.KEY):
            key = key_of(record)
            if key.declared and not key.disabled and key.id not in declared:
                await self._access.change_key(replace(key, disabled=True))
                _audit.info("key disabled: no longer declared", extra={"key": key.id})
        for id in declared:
            await self._key(id)

    async def _key(self, id: str) -> None:
        table = self._settings.keys[id]
        secret = key_secret(self._settings, id, self._environ)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        scopes = frozenset(Scope(word) for word in table.scopes)
        known = self._access.key(id)
        if known is None:
            try:
                await self._access.create_key(table.application, scopes, table.label, secret, id=id, declared=True)
            except Refusal as refusal:
                raise SettingsError(f"keys.{id}: {refusal}") from None
            return
        if known.revoked and known.sha256 == digest:
            _log.warning("keys.%s was revoked and stays so; give it another secret", id)
            return
        owner = self._directory.application(table.application)
        assert owner is not None  # declared just before
        wanted = replace(
            known, application=owner.id, account=owner.account, scopes=scopes, label=table.label, sha256=digest,
            disabled=False, declared=True, revoked=False,
        )  # fmt: skip
        if wanted != known:
            await self._access.change_key(wanted)

    async def _devices(self) -> None:
        declared = {(table.account, table.id or id): id for id, table in self._settings.devices.items()}
        for device in self._directory.all_devices():
            if device.attrs.get("declared") and (device.account, device.id) not in declared:
                await self._directory.put_device(replace(device, disabled=True))
        for (account, id), name in declared.items():
            await self._device(account, id, name)

    async def _device(self, account: str, id: str, name: str) -> None:
        table = self._settings.devices[name]
        given = device_secret(self._settings, name, self._environ)
        known = self._directory.held_device(account, id)
        base = known or Device(id, account, table.adapter, "")
        wanted = replace(
            base,
            adapter=table.adapter,
            address=table.address or f"{account}/{id}",
            name=table.name or base.name,
            type=table.type or base.type,
            aliases={**base.aliases, **table.aliases},
            queue_mode=table.queue_mode or base.queue_mode,
            attrs={**base.attrs, "declared": True, **_told_of(base, table)},
            disabled=False,
        )
        credential = self._directory.record(Kind.CREDENTIAL, f"{account}/{id}")
        held = None if credential is None else credential.secret
        secret = None if given is None or given.encode() == held else given.encode()
        if wanted != known or secret is not None:
            try:
                await self._directory.put_device(wanted, secret=secret)
            except Refusal as refusal:
                raise SettingsError(f"devices.{name}: {refusal}") from None

    async def _users(self) -> None:
        declared = self._settings.users
        for record in self._directory.records(Kind.USER):
            user = user_of(record)
            if user.declared and not user.disabled and user.id not in declared:
                await self._put(user_record(replace(user, disabled=True)))
        for id, table in declared.items():
            owner = self._directory.application(table.application)
            assert owner is not None  # declared just before
            held = self._directory.record(Kind.USER, id)
            known = None if held is None else user_of(held)
            password = user_password(self._settings, id, self._environ)
            salt = b"" if known is None else known.salt
            digest = b"" if known is None else known.digest
            if password is None:
                salt = digest = b""
            elif not digest or digest_of(password, salt) != digest:
                salt = secrets.token_bytes(16)
                digest = digest_of(password, salt)
            user = User(id, table.name or id, owner.id, owner.account, table.array, salt, digest, declared=True)
            await self._put(user_record(user))

    async def _put(self, record: Record) -> None:
        known = self._directory.record(record.kind, record.id)
        if known is None or (known.body, known.account, known.secret) != (record.body, record.account, record.secret):
            await self._directory.put(record)


def _told_of(known: Device, table: DeviceTable) -> dict[str, object]:
    """What is told of an array; where it was never told, nothing is written."""
    told = {SCHEMA: table.schema, "verify_instances": table.verify_instances}
    return {name: value for name, value in told.items() if value or name in known.attrs}
