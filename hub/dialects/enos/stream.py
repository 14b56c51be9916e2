"""A control channel's own socket: every outcome as one message, `{"data":[reply]}` and nothing else."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import orjson
from starlette.websockets import WebSocket

from hub.delivery.control_reply import reply_of, told_here
from hub.delivery.listening import Listening
from hub.delivery.request import subprotocols
from hub.delivery.socket import check_origin, serve_view
from hub.delivery.subscription import reader_name, start_of_query
from hub.dialects.enos.exchange import KEY_PREFIX, Front, socket_exchange
from hub.dialects.enos.failure import NO_CHANNEL, denial, of_channels
from hub.model.errors import HubError
from hub.model.event import Event, Gap
from hub.model.principal import Scope


class ControlView:
    """The messages of a control channel. Nothing else than outcomes is told there."""

    key: Hashable = "enos"
    binary = False

    def render(self, events: Sequence[Event]) -> list[bytes]:
        """One message per outcome."""
        return [message(event) for event in events if told_here(event)]

    def gap(self, gap: Gap, channel: str, epoch: str) -> bytes | None:
        """A message without replies whose extra member says what is missing."""
        missing = {"from": gap.start, "to": gap.end, "reason": gap.reason}
        return orjson.dumps({"data": [], "gap": missing})


def message(event: Event) -> bytes:
    """The message of an outcome: on the socket, and as the body of a callback."""
    return orjson.dumps({"data": [reply_of(event.body)]})


class ControlStream:
    """`WS /dataService/controlChannels/{id}/stream`."""

    def __init__(self, front: Front, listening: Listening, origins: Iterable[str] = ()) -> None:
        self._front = front
        self._listening = listening
        self._origins = frozenset(origin.lower() for origin in origins)

    async def connect(self, websocket: WebSocket) -> None:
        """Serve a handshake and the socket that comes of it. With `?name=` it goes on from what that name has
        acknowledged; otherwise from `from`, `epoch` and `offset`, or from now."""
        listening = self._listening
        try:
            check_origin(websocket, self._origins)
            exchange = socket_exchange(self._front, websocket)
            exchange.need(Scope.LISTEN)
            principal = exchange.principal
            found = self._front.controls.find(principal.application, websocket.path_params["channel"])
            if found is None:
                raise of_channels(1_000_000, NO_CHANNEL)
            start = start_of_query(exchange.query)
            named = exchange.query.get("name")
            reader = None if named is None else reader_name(principal.application, named)
            opening = listening.openings.open(principal.key_id)
        except HubError as error:
            await websocket.send_denial_response(denial(error))
            return
        with opening:
            try:
                channel = await self._front.controls.open(found)
                position = start.on(channel)
                if reader is not None and start.exact is None:
                    stored = await listening.log.position(channel.name, reader)
                    if stored is None:
                        # A name exists from here on, so that a break before its first pong loses nothing.
                        await listening.log.store_position(channel.name, reader, position)
                    position = stored or position
            except HubError as error:
                await websocket.send_denial_response(denial(error))
                return
            offered = [word for word in subprotocols(websocket.scope) if not word.startswith(KEY_PREFIX)]
            await websocket.accept(offered[0] if offered else None)
            await serve_view(websocket, listening, opening, channel, ControlView(), position, reader=reader)
