"""`/v1/channels`: the application's channels, and their removal. Listening on them is `listen.py`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hub.core.channels import DEFAULT, ListedChannel, full_name
from hub.core.hub import Hub
from hub.dialects.native.exchange import Exchange
from hub.model.errors import Conflict, NotFound
from hub.model.principal import Scope


class ChannelRoutes:
    """Handlers of the channels of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def listing(self, request: Request) -> Response:
        """`GET /v1/channels`, by name; `default` is always among them."""
        exchange = Exchange(self._hub, request, Scope.LISTEN)
        account, application = exchange.principal.account, exchange.principal.application
        return exchange.answer([channel_view(c) for c in await self._hub.channels.list(account, application)])

    async def get(self, request: Request) -> Response:
        """`GET /v1/channels/{name}`."""
        exchange = Exchange(self._hub, request, Scope.LISTEN)
        account, application = exchange.principal.account, exchange.principal.application
        name = full_name(application, request.path_params["name"])
        channel = await self._hub.channels.info(name, account, application)
        if channel is None:
            raise NotFound("no such channel", code="channel-not-found")
        return exchange.answer(channel_view(channel))

    async def delete(self, request: Request) -> Response:
        """`DELETE /v1/channels/{name}`: its events are gone, its listeners are told; `default` stays."""
        exchange = Exchange(self._hub, request, Scope.LISTEN)
        application = exchange.principal.application
        name = full_name(application, request.path_params["name"])
        if name == full_name(application, DEFAULT):
            raise Conflict("the default channel cannot be deleted", code="default-channel")
        if not await self._hub.channels.delete(name):
            raise NotFound("no such channel", code="channel-not-found")
        return Response(status_code=204)


def channel_view(channel: ListedChannel) -> dict[str, Any]:
    """A channel as it is listed."""
    info = channel.info
    return {
        "name": info.name,
        "epoch": info.epoch,
        "head": info.head,
        "first": info.first,
        "bytes": info.bytes,
        "listeners": channel.listeners,
    }
