"""`/v3/devices/`: the account's devices, filtered, in order of creation, page by page."""

from __future__ import annotations

import math
import secrets
from heapq import nlargest, nsmallest

import anyio.lowlevel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hub.core.hub import Hub
from hub.delivery.request import request_query
from hub.dialects.pelion import wire_devices as wire
from hub.dialects.pelion.requests import principal_of
from hub.model.device import Device
from hub.model.errors import HubError, NotFound, Refusal

AT_ONCE = 1000


class DeviceDirectory:
    """Handlers of the device directory of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def listing(self, request: Request) -> Response:
        """`GET /v3/devices/`."""
        principal = principal_of(self._hub, request)
        listing = wire.listing_of(request_query(request.scope))
        last = None
        if listing.after is not None:
            last = self._hub.directory.device(principal.account, listing.after)
            if last is None:
                raise wire.invalid("after", "names no device")
        total = 0
        found: list[Device] = []
        for number, device in enumerate(self._hub.directory.devices(principal.account)):
            if listing.fits(device):
                total += 1
                if last is None or _behind(device, last, listing.descending):
                    found.append(device)
            if number % AT_ONCE == AT_ONCE - 1:
                await anyio.lowlevel.checkpoint()  # an account may have very many
        first = nlargest if listing.descending else nsmallest
        page = first(listing.limit, found, key=wire.sort_key)
        more = len(found) > len(page)
        return JSONResponse(wire.list_view(listing, page, more, total if listing.total else None))

    async def get(self, request: Request) -> Response:
        """`GET /v3/devices/{id}/`."""
        principal = principal_of(self._hub, request)
        request_query(request.scope)
        device = self._hub.directory.device(principal.account, request.path_params["device"])
        if device is None:
            raise NotFound("there is no such device", code="device-not-found")
        return JSONResponse(wire.device_view(device))


def _behind(device: Device, last: Device, descending: bool) -> bool:
    mine, theirs = wire.sort_key(device), wire.sort_key(last)
    return mine < theirs if descending else mine > theirs


def error_response(error: HubError) -> Response:
    """An error of `/v3` as it is told: an object."""
    status, view = wire.error_view(error, secrets.token_hex(16))
    headers: dict[str, str] = {}
    retry_after = error.retry_after if isinstance(error, Refusal) else None
    if retry_after is not None or status in (429, 503, 507):
        headers["retry-after"] = str(max(1, math.ceil(retry_after or 1)))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(view, status, headers)
