"""`/v2/subscriptions`: rules by which the hub subscribes for an application whenever a device registers or updates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hub.core.hub import Hub
from hub.core.rule import Rule
from hub.delivery.request import request_body, request_query
from hub.dialects.pelion import wire_resources as wire
from hub.dialects.pelion.channel import PelionChannels
from hub.dialects.pelion.requests import principal_of
from hub.model.principal import Principal, Scope


class Presubscriptions:
    """Handlers of the rules of one hub."""

    def __init__(self, hub: Hub, channels: PelionChannels) -> None:
        self._hub = hub
        self._channels = channels

    async def put(self, request: Request) -> Response:
        """`PUT /v2/subscriptions`: these rules in place of all; 204."""
        principal = self._principal(request)
        rules = wire.rules_of(await request_body(request, self._hub.limits.body))
        return await self._replace(principal, rules)

    async def get(self, request: Request) -> Response:
        """`GET /v2/subscriptions`: the rules as they were put, `[]` if there are none."""
        principal = self._principal(request)
        return JSONResponse([wire.rule_view(rule) for rule in self._hub.observe.rules.of(principal.application)])

    async def delete(self, request: Request) -> Response:
        """`DELETE /v2/subscriptions`: no rules any more; 204."""
        return await self._replace(self._principal(request), ())

    async def _replace(self, principal: Principal, rules: Sequence[Rule]) -> Response:
        withdraw = partial(self._channels.withdraw, principal)
        await self._hub.observe.put_rules(principal.application, principal.account, rules, withdraw)
        return Response(status_code=204)

    def _principal(self, request: Request) -> Principal:
        principal = principal_of(self._hub, request, Scope.LISTEN)
        request_query(request.scope)
        return principal
