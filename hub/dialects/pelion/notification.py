"""`/v2/notification/websocket`, `/websocket-connect` and `/channel`: register, then connect (decisions G)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from hub.core.hub import Hub
from hub.delivery.listening import Listening
from hub.delivery.request import request_body, request_query, socket_key, subprotocols
from hub.delivery.shown import Shown
from hub.delivery.socket import check_origin, serve_view
from hub.dialects.pelion import wire
from hub.dialects.pelion.channel import PelionChannels
from hub.dialects.pelion.channel_queue import READER
from hub.dialects.pelion.requests import principal_of
from hub.dialects.pelion.words import word_response
from hub.model.errors import HubError, NotAllowed, NotFound, StorageFailed, TooMany
from hub.model.event import Position
from hub.model.principal import Scope

PROTOCOL = "wss"
KEY_PREFIX = "pelion_"
NO_CHANNEL = 1011
SAVING_TIME = timedelta(seconds=5)


class Notification:
    """Handlers of the notification channels of one hub. `origins` are further web origins that may connect."""

    def __init__(
        self, hub: Hub, listening: Listening, channels: PelionChannels, origins: Iterable[str] = ()
    ) -> None:
        self._hub = hub
        self._listening = listening
        self._origins = frozenset(origin.lower() for origin in origins)
        self._channels = channels
        self._shaking_hands: set[str] = set()

    async def put(self, request: Request) -> Response:
        """`PUT /v2/notification/websocket`: 201 for a new channel, 200 for one that existed; options are replaced."""
        principal = principal_of(self._hub, request, Scope.LISTEN)
        request_query(request.scope)
        options = wire.serialization(await request_body(request, self._hub.limits.body))
        made, new = await self._channels.make(principal, wire.WEBSOCKET, options)
        if not new:
            told = {} if made.options is None else {"serialization": wire.serialization_view(made.options)}
            return JSONResponse(told)
        size = await self._channels.queue.size(principal.application, principal.account)
        return JSONResponse(wire.websocket_view(made.options, connected=False, queue_size=size), 201)

    async def get(self, request: Request) -> Response:
        """`GET /v2/notification/websocket`."""
        principal = principal_of(self._hub, request, Scope.LISTEN)
        found = self._channels.get(principal.application)
        if found is None or found.kind != wire.WEBSOCKET:
            raise NotFound("there is no such channel", code="channel-not-found")
        return JSONResponse(
            wire.websocket_view(
                found.options,
                connected=self._channels.connected(principal.application),
                queue_size=await self._channels.queue.size(principal.application, principal.account),
            )
        )

    async def delete(self, request: Request) -> Response:
        """`DELETE /v2/notification/websocket`: its queue is lost, its socket is closed with 1000."""
        principal = principal_of(self._hub, request, Scope.LISTEN)
        await self._channels.delete(principal.application, wire.WEBSOCKET)
        return Response(status_code=204)

    async def mechanism(self, request: Request) -> Response:
        """`GET /v2/notification/channel`: which kind of channel there is."""
        principal = principal_of(self._hub, request, Scope.LISTEN)
        found = self._channels.get(principal.application)
        if found is None:
            raise NotFound("there is no channel", code="channel-not-found")
        return JSONResponse({"delivery_mechanism": wire.MECHANISMS[found.kind]})

    async def no_upgrade(self, request: Request) -> Response:
        """`GET /v2/notification/websocket-connect` without an upgrade: 426."""
        principal_of(self._hub, request, Scope.LISTEN)
        return PlainTextResponse("UPGRADE_REQUIRED", 426, {"upgrade": "websocket", "connection": "Upgrade"})

    async def connect(self, websocket: WebSocket) -> None:
        """The socket of the channel: text messages, nothing is expected back. Without a channel it closes with 1011."""
        try:
            check_origin(websocket, self._origins)
            key = socket_key(websocket.scope, KEY_PREFIX, bare=True)
            principal = self._hub.access.authenticate(key)
            if not principal.may(Scope.LISTEN):
                raise NotAllowed("the key needs the scope listen")
            request_query(websocket.scope)
            opening = self._listening.openings.open(principal.key_id)
        except HubError as error:
            await websocket.send_denial_response(word_response(error))
            return
        application, queue = principal.application, self._channels.queue
        with opening, self._channels.connecting(application, opening):
            try:
                with self._handshake(principal.key_id):
                    channel = await queue.channel(application, principal.account)
                    start, gap = await queue.place(application, channel)
                    # The subprotocol that holds the key is never the one that is answered.
                    await websocket.accept(PROTOCOL if PROTOCOL in subprotocols(websocket.scope) else None)
            except HubError as error:
                await websocket.send_denial_response(word_response(error))
                return
            found = self._channels.get(application)
            if found is None or found.kind != wire.WEBSOCKET:
                await websocket.close(NO_CHANNEL, "no such channel: register it first")
                return
            shown = Shown(self._channels.view(found))
            try:
                with self._channels.life(application).showing(shown):
                    told = None if gap is None else shown.view.gap(gap, channel.name, channel.epoch)
                    if told is not None:
                        await websocket.send_text(told.decode())
                    await serve_view(
                        websocket,
                        self._listening,
                        opening,
                        channel,
                        shown,
                        start,
                        reader=READER,
                        acknowledged=lambda offset: queue.moved(application, Position(channel.epoch, offset)),
                    )
            except (WebSocketDisconnect, OSError):
                return  # it left before the first message
            finally:
                await self._left(application)

    @contextmanager
    def _handshake(self, key_id: str) -> Iterator[None]:
        """One handshake of a key at a time. Raises TooMany (`another-handshake`)."""
        if key_id in self._shaking_hands:
            raise TooMany("another handshake of this key is still going on", code="another-handshake")
        self._shaking_hands.add(key_id)
        try:
            yield
        finally:
            self._shaking_hands.discard(key_id)

    async def _left(self, application: str) -> None:
        if self._channels.connected(application):
            return
        # Only the day without a socket is counted from here: a failure costs some of that day, nothing else.
        with anyio.move_on_after(SAVING_TIME / timedelta(seconds=1), shield=True), suppress(StorageFailed):
            await self._channels.saw(application)
