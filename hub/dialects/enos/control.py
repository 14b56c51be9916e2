"""Control channels: made, listed, described and removed by the application that listens to them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hub.core.control_channels import ControlChannel
from hub.dialects.enos.exchange import Exchange, Front, exchange_of
from hub.dialects.enos.failure import (
    CHANNEL_EXISTS,
    CHANNEL_ID,
    CHANNEL_UPDATE,
    CHANNELS_FULL,
    NO_CHANNEL,
    PARAMETER,
    Failure,
    of_channels,
    success,
)
from hub.dialects.enos.wire import is_channel_id
from hub.model.errors import Conflict, NotFound, TooMany
from hub.model.principal import Scope

MOST_DESC = 1024


class ControlRoutes:
    """Handlers of one kind of control channels: their ids begin with `prefix`, their codes with `family`, and `member`
    is what an id is called in bodies."""

    def __init__(self, front: Front, prefix: str, family: int, member: str) -> None:
        self._front = front
        self._prefix = prefix
        self._family = family
        self._member = member

    async def make(self, request: Request) -> Response:
        """`POST /dataService/controlChannels`."""
        exchange = await self._exchange(request)
        return success(self._view(await self._make(exchange, exchange.object())))

    async def listing(self, request: Request) -> Response:
        """`GET /dataService/controlChannels`, by id; `pageSize` 0 is all."""
        exchange = await self._exchange(request)
        size, page = _number(exchange, "pageSize", 0), _number(exchange, "pageToken", 1)
        controls = self._front.controls.of(exchange.principal.application)
        mine = [found for found in controls if found.id.startswith(self._prefix)]
        shown = mine if not size else mine[(max(page, 1) - 1) * size :][:size]
        return success({
            "pageToken": max(page, 1),
            "pageSize": size,
            "totalSize": len(mine),
            "data": [self._view(found) for found in shown],
        })  # fmt: skip

    async def get(self, request: Request) -> Response:
        """`GET /dataService/controlChannels/{id}`."""
        exchange = await self._exchange(request)
        return success(self._view(self._find(exchange, request.path_params["channel"])))

    async def put(self, request: Request) -> Response:
        """`PUT /dataService/controlChannels/{id}`: another description; an id stays what it is."""
        exchange = await self._exchange(request)
        found = self._find(exchange, request.path_params["channel"])
        body = exchange.object()
        if body.get(self._member) not in (None, found.id):
            raise of_channels(self._family, CHANNEL_UPDATE, "a channel keeps its id")
        if "desc" in body:
            try:
                found = await self._front.controls.describe(found, _desc(body))
            except NotFound:
                raise of_channels(self._family, NO_CHANNEL) from None
        return success({self._member: found.id, "desc": found.desc})

    async def delete(self, request: Request) -> Response:
        """`DELETE /dataService/controlChannels/{id}`."""
        exchange = await self._exchange(request)
        await self._front.controls.remove(self._find(exchange, request.path_params["channel"]))
        return success(None)

    async def act(self, request: Request) -> Response:
        """`/edge-service/v1/control-channel?action=create|delete`, as later editions spell it."""
        exchange = await self._exchange(request)
        body = exchange.object()
        match exchange.query.get("action"):
            case "create":
                return success(self._view(await self._make(exchange, body)))
            case "delete":
                named = exchange.query.get(self._member) or body.get(self._member)
                await self._front.controls.remove(self._find(exchange, named if isinstance(named, str) else ""))
                return success(None)
        raise Failure(400, "action is create or delete", "Invalid Argument action")

    async def _exchange(self, request: Request) -> Exchange:
        exchange = await exchange_of(self._front, request)
        exchange.need(Scope.CALL, Scope.LISTEN)
        return exchange

    async def _make(self, exchange: Exchange, body: dict[str, Any]) -> ControlChannel:
        id, principal = body.get(self._member), exchange.principal
        if not isinstance(id, str) or not is_channel_id(id, self._prefix):
            raise of_channels(self._family, CHANNEL_ID)
        wanted = ControlChannel(id, principal.application, principal.account, desc=_desc(body))
        try:
            return await self._front.controls.make(wanted)
        except Conflict:
            raise of_channels(self._family, CHANNEL_EXISTS) from None
        except TooMany:
            raise of_channels(self._family, CHANNELS_FULL) from None

    def _find(self, exchange: Exchange, id: str) -> ControlChannel:
        found = self._front.controls.find(exchange.principal.application, id)
        if found is None or not found.id.startswith(self._prefix):
            raise of_channels(self._family, NO_CHANNEL)
        return found

    def _view(self, found: ControlChannel) -> dict[str, Any]:
        return {"id": found.internal or found.id, self._member: found.id, "desc": found.desc}


def _desc(body: dict[str, Any]) -> str | None:
    desc = body.get("desc")
    if desc is not None and (not isinstance(desc, str) or len(desc) > MOST_DESC):
        raise Failure(PARAMETER, f"desc has at most {MOST_DESC} characters")
    return desc


def _number(exchange: Exchange, name: str, default: int) -> int:
    text = exchange.query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Failure(PARAMETER, f"{name} is a number")
    return int(text)
