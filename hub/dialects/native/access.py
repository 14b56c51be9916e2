"""`/v1/me` and `/v1/keys`: who a key is, and the keys of its application."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hub.core.hub import Hub
from hub.core.limits import Limits
from hub.delivery.request_members import Members
from hub.dialects.native import wire
from hub.dialects.native.exchange import Exchange
from hub.model.errors import NotFound
from hub.model.principal import Scope
from hub.model.tenant import Key


class AccessRoutes:
    """Handlers of the keys of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def me(self, request: Request) -> Response:
        """`GET /v1/me`."""
        exchange = Exchange(self._hub, request)
        principal = exchange.principal
        return exchange.answer(
            {
                "account": principal.account,
                "application": principal.application,
                "key": principal.key_id,
                "scopes": sorted(scope.value for scope in principal.scopes),
                "limits": limits_view(self._hub.limits),
            }
        )

    async def list_keys(self, request: Request) -> Response:
        """`GET /v1/keys`."""
        exchange = Exchange(self._hub, request, Scope.ADMIN)
        keys = self._hub.access.keys(exchange.principal.application)
        return exchange.answer({"keys": [key_view(key) for key in keys]})

    async def create_key(self, request: Request) -> Response:
        """`POST /v1/keys`: 201 with the secret, shown this once."""
        exchange = Exchange(self._hub, request, Scope.ADMIN)
        value, _ = await exchange.value()
        members = Members(value)
        label = members.text("label")
        scopes = _scopes(value, members)
        members.check()
        asking = exchange.principal
        key, secret = await self._hub.access.create_key(asking.application, scopes, label or "", by=asking.key_id)
        headers = {"location": f"/v1/keys/{key.id}", "cache-control": "no-store"}
        return exchange.answer({**key_view(key), "key": secret}, 201, headers)

    async def revoke_key(self, request: Request) -> Response:
        """`DELETE /v1/keys/{id}`: refused at once, its sockets closed."""
        exchange = Exchange(self._hub, request, Scope.ADMIN)
        id = request.path_params["key"]
        mine = {key.id for key in self._hub.access.keys(exchange.principal.application)}
        if id not in mine or not await self._hub.access.revoke_key(id, by=exchange.principal.key_id):
            raise NotFound("no such key", code="key-not-found")
        return Response(status_code=204)


def limits_view(limits: Limits) -> dict[str, Any]:
    """The limits that a client can run into."""
    return {
        "body": limits.body,
        "payload": limits.payload,
        "waiting": limits.waiting,
        "running": limits.running_per_application,
        "calls-per-second": limits.calls_per_second,
        "burst": limits.burst,
        "sockets": limits.sockets_per_key,
        "message": limits.message,
        "timeout": limits.max_timeout.total_seconds(),
        "expiry": limits.max_expiry.total_seconds(),
    }


def key_view(key: Key) -> dict[str, Any]:
    """A key without its secret, which the hub does not have."""
    view: dict[str, Any] = {
        "id": key.id,
        "application": key.application,
        "scopes": sorted(scope.value for scope in key.scopes),
        "label": key.label,
        "created-at": wire.moment(key.created_at),
        "declared": key.declared,
        "disabled": key.disabled,
    }
    return {name: value for name, value in view.items() if value is not None}


def _scopes(value: Any, members: Members) -> frozenset[Scope]:
    known = {scope.value: scope for scope in Scope}
    asked = value.get("scopes")
    if isinstance(asked, list) and asked and all(isinstance(word, str) and word in known for word in asked):
        return frozenset(known[word] for word in asked)
    members.wrong("scopes", "a list of one or more of these is expected: " + ", ".join(sorted(known)))
    return frozenset()
