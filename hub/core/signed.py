"""Devices that sign in: with their own secret, or with their product's to be handed one of their own.

The secrets lie sealed in the directory and are computed with here only; an adapter sees a signature and the texts that
may have been signed, nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hub.core.access import Access
from hub.core.directory import Directory
from hub.core.products import Products
from hub.core.stats import Stats
from hub.model.device import Device
from hub.model.errors import Refusal, UnknownDevice
from hub.model.product import PRODUCT_DEVICE
from hub.model.record import Kind
from hub.ports.adapter import Admission, AdmissionRefused

BY_DEVICE, BY_PRODUCT = PRODUCT_DEVICE, "product"
_ACTIVATED = "activated"
"""The attribute of a device that says with which edition of its secret it has signed in."""
_ALGORITHMS: Mapping[str, Any] = {"sha256": hashlib.sha256, "sha1": hashlib.sha1, "md5": hashlib.md5}


class SignedDevices:
    """Judges sign-ins of the kinds `product-device` and `product` (see `ports.adapter.AdapterContext.admit`)."""

    kinds = frozenset({BY_DEVICE, BY_PRODUCT})

    def __init__(self, directory: Directory, products: Products, access: Access, stats: Stats) -> None:
        self._directory = directory
        self._products = products
        self._access = access
        self._stats = stats
        self._activating = asyncio.Lock()

    async def admit(
        self, kind: str, identity: str, proof: str | bytes | None, adapter: str
    ) -> Admission | AdmissionRefused:
        """Who signed; with the product's secret, after the device and its own secret are on disk. Raises
        StorageFailed: neither a yes nor a no could be kept."""
        if kind == BY_DEVICE:
            verdict = await self._by_device(identity, proof, adapter)
        else:
            verdict = await self._by_product(identity, proof, adapter)
        if isinstance(verdict, Admission):
            self._stats.admissions += 1
        else:
            self._stats.admissions_refused += 1
        return verdict

    async def _by_device(self, identity: str, proof: str | bytes | None, adapter: str) -> Admission | AdmissionRefused:
        device = self._directory.by_alias(PRODUCT_DEVICE, identity)
        secret = None if device is None else self._secret_of(device)
        # The same work for a device that there is not: nobody learns from the time which there are.
        fits = _signed(proof, secret or secrets.token_bytes(16))
        if device is None or secret is None or not fits:
            return AdmissionRefused("no device with this signature")
        verdict = self._admission(device, adapter)
        if isinstance(verdict, Admission) and not self._activated(device):
            try:
                await self._directory.edit_device(device.account, device.id, self._used)
            except UnknownDevice:
                return AdmissionRefused("the device was deleted meanwhile")
        return verdict

    async def _by_product(self, identity: str, proof: str | bytes | None, adapter: str) -> Admission | AdmissionRefused:
        key, _, device_key = identity.partition("/")
        product = self._products.get(key)
        secret = None if product is None else product.secret
        fits = _signed(proof, secret or secrets.token_bytes(16))
        if product is None or secret is None or not fits:
            return AdmissionRefused("no product with this signature")
        account = self._directory.account(product.account)
        if not product.activation or account is None or account.disabled:
            return AdmissionRefused("the product takes no devices by its own secret")
        async with self._activating:  # one secret, however often a device asks at once
            device = self._directory.by_alias(PRODUCT_DEVICE, identity)
            if device is not None and device.account != product.account:
                return AdmissionRefused("the device is of another account")
            own = None if device is None else self._secret_of(device)
            if device is not None and self._activated(device) and not product.reactivation:
                return AdmissionRefused("the device has used a secret of its own before")
            try:
                if device is None:
                    device = Device(
                        self._free_id(product.account, device_key, key), product.account, adapter, "",
                        aliases={PRODUCT_DEVICE: identity},
                    )  # fmt: skip
                verdict = self._access.fits(device, adapter)
                if isinstance(verdict, AdmissionRefused):
                    return verdict
                if own is None:
                    own = secrets.token_hex(16).encode()
                    device = await self._directory.put_device(device, secret=own)
            except Refusal as refusal:
                return AdmissionRefused(f"the device could not be made: {refusal}")
        return Admission(device.id, device.account, device.address, device.name, own.decode())

    def _free_id(self, account: str, device_key: str, product_key: str) -> str:
        taken = self._directory.held_device(account, device_key) is not None
        return f"{product_key}.{device_key}" if taken else device_key

    def _admission(self, device: Device, adapter: str) -> Admission | AdmissionRefused:
        verdict = self._access.fits(device, adapter)
        if isinstance(verdict, AdmissionRefused):
            return verdict
        return Admission(device.id, device.account, device.address, device.name)

    def _activated(self, device: Device) -> bool:
        """Whether the device has signed in with the secret that it has now; a new secret is one that it may be told."""
        return device.attrs.get(_ACTIVATED) == self._edition(device) != 0

    def _used(self, before: Device | None) -> Device:
        if before is None or before.disabled:
            raise UnknownDevice("the hub has no such device any more")
        return replace(before, attrs={**before.attrs, _ACTIVATED: self._edition(before)})

    def _edition(self, device: Device) -> int:
        credential = self._directory.record(Kind.CREDENTIAL, f"{device.account}/{device.id}")
        return 0 if credential is None else credential.revision

    def _secret_of(self, device: Device) -> bytes | None:
        credential = self._directory.record(Kind.CREDENTIAL, f"{device.account}/{device.id}")
        return None if credential is None else credential.secret


def _signed(proof: str | bytes | None, secret: bytes) -> bool:
    """Whether one of the texts was signed with this secret; hex digits in either case."""
    try:
        told = json.loads(proof or b"")
        make = _ALGORITHMS[told["algorithm"]]
        shown = str(told["sign"]).lower().encode()
        texts = [str(text).encode() for text in told["texts"]]
    except (ValueError, KeyError, TypeError):
        return False
    return any([hmac.compare_digest(make(text + secret).hexdigest().encode(), shown) for text in texts])
