"""`/v2/subscriptions/{device-id}`: what an application is told of one device, until the device registers anew.

A subscription is answered by a plain 200 once it is on disk; the present value comes as the first notification, and a
refusal by the device as an outcome with the id `<device-id>/<path>` (decisions H1). Where the operator wants the older
form it is 202 with the id of an outcome, which brings the value or the refusal.
"""

from __future__ import annotations

import secrets

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hub.core.hub import Hub
from hub.core.wants import Life
from hub.delivery.request import raw_segments, request_query
from hub.dialects.pelion import wire_resources as wire
from hub.dialects.pelion.channel import PelionChannels
from hub.dialects.pelion.endpoints import registered
from hub.dialects.pelion.requests import principal_of
from hub.model.device import Device
from hub.model.errors import NotFound
from hub.model.principal import Principal, Scope


class Subscriptions:
    """Handlers of the subscriptions of one hub; `asynchronous`: they are answered 202."""

    def __init__(self, hub: Hub, channels: PelionChannels, *, asynchronous: bool = False) -> None:
        self._hub = hub
        self._channels = channels
        self._asynchronous = asynchronous

    async def put(self, request: Request) -> Response:
        """`PUT /v2/subscriptions/{device-id}/{path}`; a repeated one is told the present value again."""
        principal, path = self._asked(request)
        if path is None:
            raise NotFound("a resource is subscribed, not a device", code="resource-not-found")
        self._hub.access.take_call(principal)
        device = registered(self._hub, principal.account, request.path_params["device"])
        ref = secrets.token_hex(16) if self._asynchronous else None
        await self._hub.observe.want(principal.application, device, path, Life.REGISTRATION, tell_again=True, ref=ref)
        return Response(status_code=200) if ref is None else JSONResponse(wire.async_response_id(ref), 202)

    async def get(self, request: Request) -> Response:
        """`GET`: of a resource 200 if it is subscribed, of a device the list of its subscriptions; else 404."""
        principal, path = self._asked(request)
        device = registered(self._hub, principal.account, request.path_params["device"])
        paths = self._hub.observe.wanted(principal.application, device)
        if not paths or (path is not None and path not in paths):
            raise NotFound("not subscribed", code="subscription-not-found")
        if path is not None:
            return Response(status_code=200)
        return Response(wire.uri_list(paths), 200, media_type=wire.URI_LIST)

    async def delete(self, request: Request) -> Response:
        """`DELETE` of a resource's subscription, or of all of a device: 204, subscribed or not.

        What waits of it is told no more.
        """
        principal, path = self._asked(request)
        id = request.path_params["device"]
        device = self._hub.directory.device(principal.account, id)
        # What was subscribed of a device that is gone can still be taken back.
        known = device or Device(id, principal.account, "", "")
        wanted = await self._hub.observe.unwant(principal.application, known, path)
        if not wanted and device is None:
            raise NotFound("no such device", code="device-not-found")
        await self._channels.withdraw(principal, [(id, path)])
        return Response(status_code=204)

    def _asked(self, request: Request) -> tuple[Principal, str | None]:
        """Who asks, and for which path (None: for the device)."""
        principal = principal_of(self._hub, request, Scope.LISTEN)
        request_query(request.scope)
        segments = raw_segments(request.scope)[3:]
        return principal, wire.target_of(segments).path if any(segments) else None
