"""`/v1/products`: kinds of device of the account, with the services that their devices offer."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hub.core.hub import Hub
from hub.core.products import product_record, service_members
from hub.delivery.request_members import Members
from hub.dialects.native.exchange import Exchange
from hub.model.errors import BadRequest, Conflict, NotFound
from hub.model.principal import Scope
from hub.model.product import TYPES, Product, Service
from hub.model.record import Kind

MOST_SERVICES = 1000
MOST_KEY = 64

audit = logging.getLogger("hub.audit")


class ProductRoutes:
    """Handlers of the products of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def listing(self, request: Request) -> Response:
        """`GET /v1/products`, by key."""
        exchange = Exchange(self._hub, request)
        products = self._hub.products.of(exchange.principal.account)
        return exchange.answer({"products": [product_view(product) for product in products]})

    async def get(self, request: Request) -> Response:
        """`GET /v1/products/{key}`."""
        exchange = Exchange(self._hub, request)
        return exchange.answer(product_view(self._product(exchange, request)))

    async def put(self, request: Request) -> Response:
        """`PUT /v1/products/{key}`: 201 for a new product, 200 for a changed one; absent members stay as they are."""
        exchange = Exchange(self._hub, request, Scope.DEVICE)
        value, _ = await exchange.value()
        key, account = request.path_params["product"], exchange.principal.account
        held = self._hub.products.held(key)
        if held is not None and held.account != account:
            raise Conflict("the product key is in use", code="product-taken")
        if not 0 < len(key) <= MOST_KEY or not key.replace("-", "").replace("_", "").isalnum() or not key.isascii():
            raise BadRequest(f"a product key has 1 to {MOST_KEY} letters and digits", code="bad-product-key")
        wanted = changed_product(value, held or Product(key, account))
        await self._hub.directory.put(product_record(wanted))
        audit.info("product put", extra={"product": key, "account": account, "key": exchange.principal.key_id})
        return exchange.answer(product_view(wanted), 201 if held is None or held.disabled else 200)

    async def delete(self, request: Request) -> Response:
        """`DELETE /v1/products/{key}`: its devices stay, but nothing is known of their services any more."""
        exchange = Exchange(self._hub, request, Scope.DEVICE)
        product = self._product(exchange, request)
        await self._hub.directory.delete(Kind.PRODUCT, product.key)
        audit.info("product deleted", extra={"product": product.key, "key": exchange.principal.key_id})
        return Response(status_code=204)

    def _product(self, exchange: Exchange, request: Request) -> Product:
        found = self._hub.products.get(request.path_params["product"])
        if found is None or found.account != exchange.principal.account:
            raise NotFound("no such product", code="product-not-found")
        return found


def product_view(product: Product) -> dict[str, Any]:
    """A product as it is shown; its secret is not."""
    return {
        "key": product.key,
        "name": product.name,
        "activation": product.activation,
        "reactivation": product.reactivation,
        "secret-set": product.secret is not None,
        "services": {id: service_members(service) for id, service in product.services.items()},
    }


def changed_product(value: Any, before: Product) -> Product:
    """The product that a body makes of the one before. Raises BadRequest with every wrong member."""
    members = Members(value)
    name, secret = members.text("name", most=128), members.text("secret", most=256)
    activation, reactivation = members.flag("activation"), members.flag("reactivation")
    given = members.mapping("services")
    services = dict(before.services) if given is None else {}
    if given is not None and len(given) > MOST_SERVICES:
        members.wrong("services", f"at most {MOST_SERVICES}")
    for id, told in (given or {}).items():
        service = _service(id, told)
        if service is None:
            members.wrong(f"services/{id}", "name, input, output (types by parameter) and idempotent are expected")
        else:
            services[id] = service
    members.check()
    return replace(
        before,
        name=before.name if name is None else name,
        activation=before.activation if activation is None else activation,
        reactivation=before.reactivation if reactivation is None else reactivation,
        secret=before.secret if secret is None else secret.encode(),
        services=services,
        disabled=False,
    )


def _service(id: str, told: Any) -> Service | None:
    if not isinstance(told, dict) or set(told) - {"name", "input", "output", "idempotent"} or not 0 < len(id) <= 128:
        return None
    name, idempotent = told.get("name"), told.get("idempotent", False)
    given, brought = told.get("input") or {}, told.get("output") or {}
    sound = all(
        isinstance(kinds, dict) and all(kind in TYPES for kind in kinds.values()) for kinds in (given, brought)
    )
    if not sound or not isinstance(name, str | None) or not isinstance(idempotent, bool):
        return None
    return Service(id, name, given, brought, idempotent)
