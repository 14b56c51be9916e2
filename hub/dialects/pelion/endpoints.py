"""`/v2/endpoints`: the registered devices, and what each of them offers as it said itself at its registration."""

from __future__ import annotations

from typing import Any

import anyio.lowlevel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hub.core.hub import Hub
from hub.delivery.request import request_query
from hub.dialects.pelion import wire_resources as wire
from hub.dialects.pelion.requests import principal_of
from hub.model.device import Device, Registration
from hub.model.errors import NotFound

AT_ONCE = 1000


class Endpoints:
    """Handlers of the endpoints of one hub; they contact no device."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def listing(self, request: Request) -> Response:
        """`GET /v2/endpoints`, with `?type=` those of one type."""
        principal = principal_of(self._hub, request)
        kind = request_query(request.scope).get("type")
        views: list[dict[str, Any]] = []
        for number, device in enumerate(self._hub.directory.devices(principal.account)):
            if device.registration is Registration.REGISTERED and kind in (None, device.type):
                views.append(wire.endpoint_view(device))
            if number % AT_ONCE == AT_ONCE - 1:
                await anyio.lowlevel.checkpoint()  # an account may have very many
        return JSONResponse(views)

    async def resources(self, request: Request) -> Response:
        """`GET /v2/endpoints/{device-id}`."""
        principal = principal_of(self._hub, request)
        request_query(request.scope)
        device = registered(self._hub, principal.account, request.path_params["device"])
        return JSONResponse(wire.resource_views(device))


def registered(hub: Hub, account: str, named: str) -> Device:
    """The device, if it is registered now. Raises NotFound."""
    device = hub.directory.device(account, named)
    if device is None or device.registration is not Registration.REGISTERED:
        raise NotFound("no such device", code="device-not-found")
    return device
