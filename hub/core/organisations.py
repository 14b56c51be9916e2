"""Organisations: names by which an account is asked for, from where a token that nobody can check is let in for them,
and the applications that sign in by a key and a secret of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from hub.core.access import Access
from hub.core.directory import Directory
from hub.model.principal import Principal, Scope
from hub.model.record import Kind, Record

SIGNED, OPAQUE = "enos-app:", "enos-org:"
_SCOPES = frozenset({Scope.CALL, Scope.LISTEN})


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation. `opaque_from` are the networks whose token is believed unseen; they act as `application`."""

    id: str
    account: str
    application: str
    opaque_from: tuple[str, ...] = ()
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class SigningApp:
    """An application that proves itself by signatures: its key, and the secret that they are made with."""

    key: str
    application: str
    account: str
    secret: bytes = field(repr=False)
    disabled: bool = False


class Organisations:
    """All organisations and signing applications, by id; reads never wait."""

    def __init__(self, directory: Directory, access: Access) -> None:
        self._directory = directory
        self._organisations: dict[str, Organisation] = {}
        self._networks: dict[str, tuple[IPv4Network | IPv6Network, ...]] = {}
        self._apps: dict[str, SigningApp] = {}
        directory.follow(Kind.ORGANISATION, self._changed)
        directory.follow(Kind.CREDENTIAL, self._credential_changed)
        others = access.serves_else
        access.serves_else = lambda key_id: self.serves(key_id) or others(key_id)

    def get(self, id: str) -> Organisation | None:
        """The organisation, None if there is none or it, its account or its application is disabled."""
        found = self._organisations.get(id)
        return found if found is not None and self._serves(found) else None

    def app(self, key: str) -> SigningApp | None:
        """The signing application with this key, None if there is none or it is disabled."""
        found = self._apps.get(key)
        return found if found is not None and self._serves(found) else None

    def believes(self, organisation: Organisation, peer: str) -> bool:
        """Whether a token that nobody can check is let in from this address."""
        try:
            address = ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks[organisation.id])

    def serves(self, key_id: str) -> bool:
        """Whether the `key_id` of a principal of this place opens the door now."""
        if key_id.startswith(SIGNED):
            return self.app(key_id.removeprefix(SIGNED)) is not None
        found = self.get(key_id.removeprefix(OPAQUE)) if key_id.startswith(OPAQUE) else None
        return found is not None and bool(found.opaque_from)

    def _serves(self, found: Organisation | SigningApp) -> bool:
        application = self._directory.application(found.application)
        account = self._directory.account(found.account)
        gone = application is None or application.disabled or account is None or account.disabled
        return not (found.disabled or gone)

    def _changed(self, id: str, record: Record | None) -> None:
        self._organisations.pop(id, None)
        self._networks.pop(id, None)
        if record is not None:
            found = self._organisations[id] = organisation_of(record)
            self._networks[id] = tuple(ip_network(text) for text in found.opaque_from)

    def _credential_changed(self, id: str, record: Record | None) -> None:
        if not id.startswith(SIGNED):
            return
        self._apps.pop(id.removeprefix(SIGNED), None)
        if record is not None:
            found = signing_app_of(record)
            self._apps[found.key] = found


def principal_of(found: Organisation | SigningApp) -> Principal:
    """As whom somebody acts who came in by an organisation or as a signing application."""
    name = SIGNED + found.key if isinstance(found, SigningApp) else OPAQUE + found.id
    return Principal(found.account, found.application, name, _SCOPES)


def organisation_of(record: Record) -> Organisation:
    """The organisation that a record tells of."""
    body = record.body
    networks = tuple(body.get("opaque_from") or ())
    return Organisation(record.id, record.account, body["application"], networks, bool(body.get("disabled")))


def organisation_record(found: Organisation) -> Record:
    """The record of an organisation; only the configuration declares any."""
    body = {
        "application": found.application,
        "opaque_from": list(found.opaque_from),
        "disabled": found.disabled,
        "declared": True,
    }
    return Record(Kind.ORGANISATION, found.id, found.account, body)


def signing_app_of(record: Record) -> SigningApp:
    """The signing application that a credential tells of."""
    body = record.body
    key = record.id.removeprefix(SIGNED)
    return SigningApp(key, body["application"], record.account, record.secret or b"", bool(body.get("disabled")))


def signing_app_record(found: SigningApp) -> Record:
    """The credential of a signing application; a device's has a slash in its id, this one never."""
    body = {"kind": "signing-app", "application": found.application, "disabled": found.disabled}
    return Record(Kind.CREDENTIAL, SIGNED + found.key, found.account, body, secret=found.secret)
