"""Which devices may dial in, and as whom: judged by memory alone, because a handshake waits for no database.

A device is known by what it proves, or by a name where the configuration says that names are enough. Nothing here says
to a device why it may not stay.
"""

from __future__ import annotations

import abc
import hmac
from collections.abc import Collection, Mapping

from hub.core.claims import PSK_IDENTITY
from hub.core.directory import Directory
from hub.core.stats import Stats
from hub.model.device import Device
from hub.model.errors import HubError, NotAuthenticated
from hub.model.principal import Principal, Scope
from hub.model.record import Kind
from hub.ports.adapter import Admission, AdmissionRefused


class Doorkeeper(abc.ABC):
    """Judges devices that dial in.

    `open_to_names` holds the adapters whose devices the configuration lets in without proof, `homes` the account that
    an adapter belongs to, where it belongs to one.
    """

    def __init__(self, directory: Directory, stats: Stats, open_to_names: Collection[str] = ()) -> None:
        self._directory = directory
        self._stats = stats
        self.open_to_names = frozenset(open_to_names)
        self.homes: Mapping[str, str] = {}

    @abc.abstractmethod
    def authenticate(self, secret: str) -> Principal:
        """Whose key this is. Raises NotAuthenticated."""

    def admit(
        self, kind: str, identity: str, proof: str | bytes | None, adapter: str
    ) -> Admission | AdmissionRefused:
        """Who a dialling device is, by memory alone. Kinds as in `ports.adapter.AdapterContext.admit`.

        With `key` an unknown device id is taken into the key's account and stored behind; with `secret` the
        identity is a device id, or `<account>/<id>` where several accounts have that id.
        """
        judges = {
            "key": self._by_key, "secret": self._by_secret, "name": self._by_open_name, "psk": self._by_psk,
            "open": self._by_any_name,
        }
        judge = judges.get(kind)
        verdict = AdmissionRefused(f"unknown kind {kind!r}") if judge is None else judge(identity, proof, adapter)
        if isinstance(verdict, Device):
            self._stats.admissions += 1
            key_id = self.authenticate(_as_text(proof)).key_id if kind == "key" else None
            return Admission(verdict.id, verdict.account, verdict.address, verdict.name, key_id=key_id)
        self._stats.admissions_refused += 1
        return verdict

    def psk(self, identity: str, adapter: str) -> bytes | None:
        """The pre-shared key of this adapter's device with that PSK identity; None for no such."""
        device = self._directory.by_alias(PSK_IDENTITY, identity)
        if device is None or device.adapter != adapter:
            return None
        credential = self._directory.record(Kind.CREDENTIAL, f"{device.account}/{device.id}")
        return None if credential is None else credential.secret

    def fits(self, device: Device, adapter: str) -> Device | AdmissionRefused:
        """The device, if it may come through this adapter now."""
        account = self._directory.account(device.account)
        if device.disabled or account is None or account.disabled:
            return AdmissionRefused("the device or its account is disabled")
        if device.adapter != adapter:
            return AdmissionRefused(f"the device belongs to the adapter {device.adapter}")
        return device

    def _by_key(self, identity: str, proof: str | bytes | None, adapter: str) -> Device | AdmissionRefused:
        try:
            principal = self.authenticate(_as_text(proof))
        except NotAuthenticated:
            return AdmissionRefused("the key is not known")
        if not principal.may(Scope.DEVICE):
            return AdmissionRefused(f"key {principal.key_id} has not the scope device")
        account = principal.account
        held = self._directory.held_device(account, identity)
        device = held or self._directory.by_name(account, identity)
        if device is None and self.homes.get(adapter, account) != account:
            return AdmissionRefused("the adapter belongs to another account")
        if device is None:
            try:
                return self._directory.put_device_soon(Device(identity, account, adapter, ""))
            except HubError as error:
                return AdmissionRefused(str(error))
        return self.fits(device, adapter)

    def _by_secret(self, identity: str, proof: str | bytes | None, adapter: str) -> Device | AdmissionRefused:
        shown = proof if isinstance(proof, bytes) else _as_text(proof).encode("utf-8", "surrogatepass")
        account, slash, id = identity.partition("/")
        named = self._directory.device(account, id) if slash else None
        candidates = ([] if named is None else [named]) if slash else self._directory.everywhere(identity)
        fitting = []
        for device in candidates:
            credential = self._directory.record(Kind.CREDENTIAL, f"{device.account}/{device.id}")
            if credential is not None and credential.secret and hmac.compare_digest(credential.secret, shown):
                fitting.append(device)
        if len(fitting) != 1:
            return AdmissionRefused("no device with this secret" if not fitting else "several devices fit")
        return self.fits(fitting[0], adapter)

    def _by_psk(self, identity: str, proof: str | bytes | None, adapter: str) -> Device | AdmissionRefused:
        device = self._directory.by_alias(PSK_IDENTITY, identity)
        return AdmissionRefused("no such identity") if device is None else self.fits(device, adapter)

    # Names, which prove nothing.

    def _by_open_name(self, identity: str, proof: str | bytes | None, adapter: str) -> Device | AdmissionRefused:
        if adapter not in self.open_to_names:
            return AdmissionRefused("the configuration does not open this adapter to names")
        device = self._named(identity, adapter)
        if device is None:
            return AdmissionRefused("no such device")
        if self._proves(device):
            return AdmissionRefused("the device has a key or a secret, so its name alone does not let it in")
        return self.fits(device, adapter)

    def _by_any_name(self, identity: str, proof: str | bytes | None, adapter: str) -> Device | AdmissionRefused:
        """A known device where names are enough for it, one that came by this name before, or a new one."""
        home = self.homes.get(adapter)
        if self._has_key(identity, adapter, home):
            return AdmissionRefused("the device has a key or a secret, so its name alone does not let it in")
        known = self._named(identity, adapter) if adapter in self.open_to_names else None
        # Whoever came so before is found by his address, which is this name.
        known = known or self._directory.at(adapter, identity)
        if known is not None:
            if adapter not in self.open_to_names and known.account != home:
                return AdmissionRefused("the address is that of another account's device")
            return self.fits(known, adapter)
        if home is None:
            return AdmissionRefused("there is no account to take unknown devices into")
        if self._directory.held_device(home, identity) is not None:
            # A name that anybody may claim must not take the place of a device that is somebody already.
            return AdmissionRefused("the name is that of another device")
        if "/" in identity:
            return AdmissionRefused("a name with a slash can be no device id")
        return self.fits(Device(identity, home, adapter, identity), adapter)

    def _named(self, name: str, adapter: str) -> Device | None:
        """The adapter's device that this name means: by alias, by address, by its id where only one has it."""
        found = [device for device in self._directory.everywhere(name) if device.adapter == adapter]
        return (
            self._directory.by_alias("endpoint", f"{adapter}/{name}")
            or self._directory.at(adapter, name)
            or (found[0] if len(found) == 1 else None)
        )

    def _has_key(self, name: str, adapter: str, home: str | None) -> bool:
        """Whether any device of the adapter that this name could mean proves itself by a key."""
        meant = [
            self._directory.by_alias("endpoint", f"{adapter}/{name}"),
            self._directory.by_alias(PSK_IDENTITY, name),
            self._directory.at(adapter, name),
            *self._directory.everywhere(name),
            None if home is None else self._directory.by_name(home, name),
        ]
        return any(device is not None and device.adapter == adapter and self._proves(device) for device in meant)

    def _proves(self, device: Device) -> bool:
        """Whether the device has anything to prove who it is by, or will be given it: an identity, a secret."""
        credential = self._directory.record(Kind.CREDENTIAL, f"{device.account}/{device.id}")
        return PSK_IDENTITY in device.aliases or (credential is not None and bool(credential.secret))


def _as_text(proof: str | bytes | None) -> str:
    return proof.decode("utf-8", "replace") if isinstance(proof, bytes) else proof or ""
