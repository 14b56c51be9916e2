"""`/v2/notification/callback`: a web server of the application's, tried once before it is taken."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hub.core.hub import Hub
from hub.delivery.outgoing.guard import Guard
from hub.delivery.request import request_body, request_query
from hub.delivery.request_data import Form, form_of_body
from hub.dialects.pelion import callback_wire
from hub.dialects.pelion.callback_reader import CallbackReaders
from hub.dialects.pelion.callback_trial import Trials
from hub.dialects.pelion.channel import PelionChannels
from hub.dialects.pelion.requests import principal_of, reads_singly
from hub.dialects.pelion.wire import CALLBACK
from hub.model.errors import NotFound, UnsupportedMedia
from hub.model.principal import Scope


class CallbackRoutes:
    """Handlers of the callbacks of one hub."""

    def __init__(self, hub: Hub, channels: PelionChannels, readers: CallbackReaders, guard: Guard) -> None:
        self._hub = hub
        self._channels = channels
        self._trials = Trials(hub, readers, guard)

    async def put(self, request: Request) -> Response:
        """Set the callback, or put another in its place: 204 once the new one has answered a trial PUT."""
        principal = principal_of(self._hub, request, Scope.LISTEN)
        request_query(request.scope)
        if form_of_body(request.scope) is not Form.JSON:
            raise UnsupportedMedia("the body is taken as application/json")
        asked = callback_wire.callback(await request_body(request, self._hub.limits.body))
        await self._channels.refuse_another(principal.application, CALLBACK)
        self._hub.access.take_call(principal)
        await self._trials.make(principal, asked)
        await self._channels.make(
            principal, CALLBACK, asked.options, asked.url, asked.headers, singly=reads_singly(request.scope)
        )
        return Response(status_code=204)

    async def get(self, request: Request) -> Response:
        """The callback as it was set."""
        principal = principal_of(self._hub, request, Scope.LISTEN)
        found = self._channels.get(principal.application)
        if found is None or found.kind != CALLBACK:
            raise NotFound("there is no callback", code="channel-not-found")
        return JSONResponse(
            callback_wire.callback_view(found.url, found.headers, found.options), headers={"cache-control": "no-store"}
        )

    async def delete(self, request: Request) -> Response:
        """Remove the callback; what waited for it is lost."""
        principal = principal_of(self._hub, request, Scope.LISTEN)
        await self._channels.delete(principal.application, CALLBACK)
        return Response(status_code=204)
