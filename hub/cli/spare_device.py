"""The spare device of `hub dev`: declared and waiting, for somebody who tries the vendor's device SDK."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Any

FIRST_MQTT_PORT = 11883
ORGANISATION = "o15434988531231"
PRODUCT, DEVICE = "spareProduct", "spareDevice"
POSTS_LAST = 60
"""Seconds for which a value that it posted answers reads, as it is with LwM2M devices."""


@dataclass(frozen=True, slots=True)
class SpareDevice:
    """How the device introduces itself; `product_secret` is for devices that have no secret of their own yet."""

    product_key: str
    device_key: str
    product_secret: str = field(repr=False)
    device_secret: str = field(repr=False)

    @property
    def members(self) -> dict[str, str]:
        """What tools read."""
        return {
            "org": ORGANISATION,
            "product_key": self.product_key,
            "product_secret": self.product_secret,
            "device_key": self.device_key,
            "device_secret": self.device_secret,
        }


def spare_device(key: str) -> SpareDevice:
    """The spare device of a hub with this API key: the same at every start, and nothing is told of the key."""
    return SpareDevice(PRODUCT, DEVICE, _derived(key, "product"), _derived(key, "device"))


def spare_tables(spare: SpareDevice, host: str, port: int) -> dict[str, dict[str, Any]]:
    """The tables of the configuration that declare it, and the listener that it dials."""
    return {
        "adapters": {
            "mqtt": {
                "kind": "mqtt", "account": "demo", "host": host, "port": port, "move": True, "max_age": POSTS_LAST,
            }
        },
        "products": {
            spare.product_key: {
                "account": "demo",
                "name": "Spare",
                "activation": True,
                "secret": spare.product_secret,
            }
        },
        "devices": {
            spare.device_key: {
                "account": "demo",
                "adapter": "mqtt",
                "type": "enos",
                "aliases": {"product-device": f"{spare.product_key}/{spare.device_key}", "asset": spare.device_key},
                "secret": spare.device_secret,
            }
        },
    }


def _derived(key: str, what: str) -> str:
    return hmac.digest(key.encode(), f"spare {what}".encode(), "sha256").hex()[:32]
