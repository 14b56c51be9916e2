"""Devices and tenants as records and back: the one place that knows the members of those bodies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from hub.model.device import Device, Presence, Registration, Resource
from hub.model.principal import Scope
from hub.model.record import Kind, Record
from hub.model.tenant import Account, Application, Key


def record_of(device: Device, revision: int) -> Record:
    """The record of a device; its id is `<account>/<device>`, since device ids are unique per account only."""
    body: dict[str, Any] = {
        "adapter": device.adapter,
        "address": device.address,
        "name": device.name,
        "type": device.type,
        "aliases": dict(device.aliases),
        "queue_mode": device.queue_mode,
        "registration": device.registration.value,
        "presence": device.presence.value,
        "resources": [[r.path, r.resource_type, r.interface, r.content_type, r.observable] for r in device.resources],
        "created_at": _text(device.created_at),
        "updated_at": _text(device.updated_at),
        "last_seen": _text(device.last_seen),
        "expires_at": _text(device.expires_at),
        "boot": device.boot,
        "attrs": dict(device.attrs),
        "disabled": device.disabled,
    }
    return Record(Kind.DEVICE, f"{device.account}/{device.id}", device.account, body, revision=revision)


def device_of(record: Record) -> Device:
    """The device that a record tells of."""
    body = record.body
    return Device(
        id=record.id.partition("/")[2],
        account=record.account,
        adapter=body["adapter"],
        address=body["address"],
        name=body.get("name"),
        type=body.get("type"),
        aliases=dict(body.get("aliases") or {}),
        queue_mode=bool(body.get("queue_mode")),
        registration=Registration(body.get("registration", Registration.DECLARED.value)),
        presence=Presence(body.get("presence", Presence.UNKNOWN.value)),
        resources=tuple(_resource(*entry) for entry in body.get("resources") or ()),
        created_at=_moment(body, "created_at"),
        updated_at=_moment(body, "updated_at"),
        last_seen=_moment(body, "last_seen"),
        expires_at=_moment(body, "expires_at"),
        boot=body.get("boot"),
        attrs=dict(body.get("attrs") or {}),
        disabled=bool(body.get("disabled")),
    )


def memory_record(device: Device, memory: bytes) -> Record:
    """What a device's adapter keeps of it over a restart."""
    return Record(Kind.MEMORY, f"{device.account}/{device.id}", device.account, {"memory": memory})


def account_of(record: Record) -> Account:
    """The account that a record tells of."""
    body = record.body
    return Account(record.id, body.get("name", ""), bool(body.get("disabled")), bool(body.get("declared")))


def account_record(account: Account) -> Record:
    """The record of an account."""
    body = {"name": account.name, "disabled": account.disabled, "declared": account.declared}
    return Record(Kind.ACCOUNT, account.id, account.id, body)


def application_of(record: Record) -> Application:
    """The application that a record tells of; its callback secret is the record's sealed secret."""
    body = record.body
    flags = bool(body.get("disabled")), bool(body.get("declared"))
    return Application(record.id, record.account, body.get("name", ""), record.secret, *flags)


def application_record(application: Application) -> Record:
    """The record of an application."""
    body = {"name": application.name, "disabled": application.disabled, "declared": application.declared}
    return Record(Kind.APPLICATION, application.id, application.account, body, secret=application.callback_secret)


def key_of(record: Record) -> Key:
    """The key that a record tells of."""
    body = record.body
    return Key(
        id=record.id,
        application=body["application"],
        account=record.account,
        scopes=frozenset(Scope(word) for word in body["scopes"]),
        label=body.get("label", ""),
        sha256=body["sha256"],
        created_at=_moment(body, "created_at"),
        disabled=bool(body.get("disabled")),
        declared=bool(body.get("declared")),
        revoked=bool(body.get("revoked")),
    )


def key_record(key: Key) -> Record:
    """The record of a key; the secret is not in it, because the hub does not have it."""
    body = {
        "application": key.application,
        "scopes": sorted(scope.value for scope in key.scopes),
        "label": key.label,
        "sha256": key.sha256,
        "created_at": _text(key.created_at),
        "disabled": key.disabled,
        "declared": key.declared,
        "revoked": key.revoked,
    }
    return Record(Kind.KEY, key.id, key.account, body)


@lru_cache(maxsize=4096)
def _resource(*members: Any) -> Resource:
    """One value for what many devices of a kind offer alike."""
    return Resource(*members)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(body: Mapping[str, Any], member: str) -> datetime | None:
    text = body.get(member)
    return None if text is None else datetime.fromisoformat(text)
