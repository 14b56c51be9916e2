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

from hub.core.access import OPERATOR, Access
from hub.core.control_channels import ControlChannel, control_of, control_record, new_internal
from hub.core.directory import Directory
from hub.core.organisations import (
    SIGNED,
    Organisation,
    SigningApp,
    organisation_of,
    organisation_record,
    signing_app_of,
    signing_app_record,
)
from hub.core.products import product_of, product_record
from hub.core.records import account_of, account_record, application_of, application_record, key_of
from hub.core.users import digest_of, user_of, user_record
from hub.model.device import Device
from hub.model.errors import Refusal
from hub.model.principal import Scope
from hub.model.product import Product, Service
from hub.model.record import Kind, Record
from hub.model.schema import SCHEMA
from hub.model.tenant import Account, Application, User
from hub.settings.contradictions import (
    application_secret,
    device_secret,
    key_secret,
    product_secret,
    signing_secret,
    user_password,
)
from hub.settings.exposed import exposed
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
        for line in exposed(self._settings):
            _log.warning("%s", line)
        await self._accounts()
        await self._applications()
        await self._keys()
        await self._devices()
        await self._users()
        await self._products()
        await self._organisations()

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
                _audit.info("key disabled: no longer declared", extra={"key": OPERATOR, "subject": key.id})
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

    async def _products(self) -> None:
        declared = self._settings.products
        for record in self._directory.records(Kind.PRODUCT):
            product = product_of(record)
            if product.declared and not product.disabled and product.key not in declared:
                await self._put(product_record(replace(product, disabled=True)))
        for key, table in declared.items():
            held = self._directory.record(Kind.PRODUCT, key)
            if held is not None and held.account != table.account:
                raise SettingsError(f"products.{key}.account: the product belongs to {held.account!r} already")
            secret = product_secret(self._settings, key, self._environ)
            services = {
                id: Service(id, told.name, told.input, told.output, told.idempotent)
                for id, told in table.services.items()
            }
            sealed = None if secret is None else secret.encode()
            await self._put(product_record(Product(
                key, table.account, table.name, table.activation, services, sealed, declared=True,
                reactivation=table.reactivation,
            )))  # fmt: skip

    async def _organisations(self) -> None:
        enos, channels = self._settings.enos, set()
        for record in self._directory.records(Kind.ORGANISATION):
            if record.id not in enos.orgs:
                await self._put(organisation_record(replace(organisation_of(record), disabled=True)))
        for id, table in enos.orgs.items():
            await self._put(organisation_record(
                Organisation(id, table.account, table.application, tuple(table.opaque_from))
            ))  # fmt: skip
            for named in table.channels:
                made = ControlChannel(named, table.application, table.account, new_internal(), declared=True)
                record = control_record(made)
                held = self._directory.record(Kind.CONTROL, record.id)
                known = None if held is None else control_of(held)
                if known is not None:
                    # What was said of it by API stays.
                    record = control_record(replace(known, declared=True, disabled=False))
                channels.add(record.id)
                await self._put(record)
        for record in self._directory.records(Kind.CONTROL):
            found = control_of(record)
            if found.declared and not found.disabled and record.id not in channels:
                await self._put(control_record(replace(found, disabled=True)))
        for record in self._directory.records(Kind.CREDENTIAL):
            if record.id.startswith(SIGNED) and record.id.removeprefix(SIGNED) not in enos.apps:
                await self._put(signing_app_record(replace(signing_app_of(record), disabled=True)))
        for key, app in enos.apps.items():
            owner = self._directory.application(app.application)
            assert owner is not None  # declared just before
            secret = signing_secret(self._settings, key, self._environ).encode()
            await self._put(signing_app_record(SigningApp(key, owner.id, owner.account, secret)))

    async def _put(self, record: Record) -> None:
        known = self._directory.record(record.kind, record.id)
        if known is None or (known.body, known.account, known.secret) != (record.body, record.account, record.secret):
            await self._directory.put(record)


def _told_of(known: Device, table: DeviceTable) -> dict[str, object]:
    """What is told of an array; where it was never told, nothing is written."""
    told = {SCHEMA: table.schema, "verify_instances": table.verify_instances}
    return {name: value for name, value in told.items() if value or name in known.attrs}
