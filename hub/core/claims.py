"""Names that mean one device in the whole hub, and which of them an account may give to its own devices by API.

Whoever holds such a name before its device first dials in would be that device. So a product's devices are named by
the account that has the product, and identities for pre-shared keys begin with the account; the operator's
configuration may say anything, and in a hub of one account there is nobody to take anything from.
"""

from __future__ import annotations

from hub.core.directory import Directory
from hub.core.products import Products
from hub.model.device import Device
from hub.model.errors import Conflict
from hub.model.product import PRODUCT_DEVICE
from hub.model.record import Kind

PSK_IDENTITY = "psk-identity"


class Claims:
    """Judges the hub-wide names of devices that are written by API."""

    def __init__(self, directory: Directory, products: Products) -> None:
        self._directory = directory
        self._products = products

    def check(self, wanted: Device, before: Device | None) -> None:
        """Raises Conflict (`alias-not-yours`) for a name that is new to the device and not its account's to give."""
        if len(self._directory.records(Kind.ACCOUNT)) <= 1:
            return
        held = {} if before is None else before.aliases
        named = wanted.aliases.get(PRODUCT_DEVICE)
        if named is not None and named != held.get(PRODUCT_DEVICE):
            product = self._products.get(named.partition("/")[0])
            # No product and somebody else's look alike.
            if product is None or product.account != wanted.account:
                raise Conflict("a product-device alias names a product of the account", code="alias-not-yours")
        identity = wanted.aliases.get(PSK_IDENTITY)
        new = identity is not None and identity != held.get(PSK_IDENTITY)
        if new and not str(identity).startswith(f"{wanted.account}/"):
            raise Conflict(
                f"a psk-identity given by API begins with {wanted.account}/; others are configured",
                code="alias-not-yours",
            )
