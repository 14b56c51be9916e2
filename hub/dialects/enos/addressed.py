"""Which device a request means, and whether it is known to be away."""

from __future__ import annotations

from hub.dialects.enos.exchange import Front
from hub.model.device import Device, Presence, Registration
from hub.model.product import ASSET, PRODUCT_DEVICE


def device_of(front: Front, account: str, asset: str | None, product: str | None, key: str | None) -> Device | None:
    """The account's device by its asset id, which wins, or by product and device key."""
    directory = front.hub.directory
    if asset:
        # A wrong asset id is wrong even where product and device key are right (decisions A2).
        return directory.device(account, asset, (ASSET,))
    device = directory.by_alias(PRODUCT_DEVICE, f"{product}/{key}")
    return device if device is not None and device.account == account else None


def is_away(front: Front, device: Device) -> bool:
    """Whether the device is known not to be there; shortly after a start, one that was seen before may be on its
    way back."""
    adapter = front.hub.adapters.get(device.adapter)
    if adapter is None or adapter.presence(device.address) is not Presence.OFFLINE:
        return False
    return not (front.settling and device.registration is Registration.REGISTERED)
