"""`/v3/devices/`: the account's devices, filtered, in order of creation, page by page."""

from __future__ import annotations

import math
import secrets
from collections import OrderedDict
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
MOST_PLACES = 1024
"""Remembered ends of pages, of an account."""
WALK = 600.0
"""Seconds for which the next page is asked for by where this one ended, whatever became of that device."""


class DeviceDirectory:
    """Handlers of the device directory of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._ends: dict[str, OrderedDict[str, tuple[float, wire.Place]]] = {}

    async def listing(self, request: Request) -> Response:
        """`GET /v3/devices/`."""
        principal = principal_of(self._hub, request)
        listing = wire.listing_of(request_query(request.scope))
        last = None if listing.after is None else self._place(principal.account, listing.after)
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
        if more:
            self._remember(principal.account, page[-1])
        return JSONResponse(wire.list_view(listing, page, more, total if listing.total else None))

    def _place(self, account: str, id: str) -> wire.Place:
        """Where a page goes on: behind the device as it stood in the page before, which may be gone since. Once that
        is long ago, behind the device as it stands now."""
        ends = self._ends.get(account)
        end = None if ends is None else ends.get(id)
        device = self._hub.directory.held_device(account, id)
        if end is not None and (device is None or self._hub.clock.monotonic() - end[0] < WALK):
            return end[1]
        if device is None:
            raise wire.invalid("after", "names no device")
        return wire.sort_key(device)

    def _remember(self, account: str, last: Device) -> None:
        """The next page is asked for by the last device of this one."""
        ends = self._ends.setdefault(account, OrderedDict())
        ends[last.id] = (self._hub.clock.monotonic(), wire.sort_key(last))
        ends.move_to_end(last.id)
        if len(ends) > MOST_PLACES:
            ends.popitem(last=False)

    async def get(self, request: Request) -> Response:
        """`GET /v3/devices/{id}/`."""
        principal = principal_of(self._hub, request)
        request_query(request.scope)
        device = self._hub.directory.device(principal.account, request.path_params["device"])
        if device is None:
            raise NotFound("there is no such device", code="device-not-found")
        return JSONResponse(wire.device_view(device))


def _behind(device: Device, last: wire.Place, descending: bool) -> bool:
    mine = wire.sort_key(device)
    return mine < last if descending else mine > last


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
