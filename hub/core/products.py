"""Products as the directory keeps them, and what follows from them for a call: its service, and whether repeating it
does harm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.core.directory import Directory
from hub.model.device import Device
from hub.model.product import PRODUCT_DEVICE, Product, Service
from hub.model.record import Kind, Record

_POSTED = "/service/"


class Products:
    """All products of the hub, by key; reads never wait."""

    def __init__(self, directory: Directory) -> None:
        self._products: dict[str, Product] = {}
        directory.follow(Kind.PRODUCT, self._changed)

    def get(self, key: str) -> Product | None:
        """The product, None if there is none or it is disabled."""
        product = self._products.get(key)
        return None if product is None or product.disabled else product

    def held(self, key: str) -> Product | None:
        """As `get`, but a disabled one is found too: for those who declare and enable."""
        return self._products.get(key)

    def of(self, account: str) -> list[Product]:
        """The account's products that are not disabled, by key."""
        mine = (product for product in self._products.values() if product.account == account and not product.disabled)
        return sorted(mine, key=lambda product: product.key)

    def of_device(self, device: Device) -> Product | None:
        """The product that a device is of, None if it is of none that its account has."""
        key = device.aliases.get(PRODUCT_DEVICE, "").partition("/")[0]
        product = self.get(key) if key else None
        return product if product is not None and product.account == device.account else None

    def service(self, device: Device, id: str) -> Service | None:
        """A service of a device as its product declares it."""
        product = self.of_device(device)
        return None if product is None else product.services.get(id)

    def idempotent(self, device: Device, method: str, target: str) -> bool:
        """Whether the call is of a service that is declared as idempotent, in whichever words it was asked for."""
        if method == "INVOKE":
            id = target
        elif method == "POST" and target.startswith(_POSTED):
            id = target.removeprefix(_POSTED)
        else:
            return False
        service = self.service(device, id)
        return service is not None and service.idempotent

    def _changed(self, id: str, record: Record | None) -> None:
        if record is None:
            self._products.pop(id, None)
        else:
            self._products[id] = product_of(record)


def product_of(record: Record) -> Product:
    """The product that a record tells of; its secret is the record's sealed secret."""
    body = record.body
    return Product(
        key=record.id,
        account=record.account,
        name=body.get("name", ""),
        activation=bool(body.get("activation")),
        services={id: _service(id, told) for id, told in (body.get("services") or {}).items()},
        secret=record.secret,
        disabled=bool(body.get("disabled")),
        declared=bool(body.get("declared")),
        reactivation=bool(body.get("reactivation")),
    )


def product_record(product: Product) -> Record:
    """The record of a product."""
    body: dict[str, Any] = {
        "product_key": product.key,
        "name": product.name,
        "activation": product.activation,
        "reactivation": product.reactivation,
        "services": {id: service_members(service) for id, service in product.services.items()},
        "disabled": product.disabled,
        "declared": product.declared,
    }
    return Record(Kind.PRODUCT, product.key, product.account, body, secret=product.secret)


def service_members(service: Service) -> dict[str, Any]:
    """A service as plain values."""
    return {
        "name": service.name,
        "input": dict(service.input),
        "output": dict(service.output),
        "idempotent": service.idempotent,
    }


def _service(id: str, told: Mapping[str, Any]) -> Service:
    return Service(
        id, told.get("name"), dict(told.get("input") or {}), dict(told.get("output") or {}),
        bool(told.get("idempotent")),
    )  # fmt: skip
