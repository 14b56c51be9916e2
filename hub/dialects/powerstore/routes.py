"""Where the dialect answers: everything below `/api/rest`, for an array by name below `/arrays/{array}/api/rest`."""

from __future__ import annotations

import logging
import re

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from hub.dialects.powerstore import resources, wire
from hub.dialects.powerstore.exchange import Front, exchange_of, segments_of
from hub.dialects.powerstore.hub_types import TYPES
from hub.model.errors import HubError, MethodNotAllowed, NotFound, Refusal

PREFIXES = ("/api/rest", "/arrays/{array}/api/rest")

_MINE = re.compile(r"(?:/arrays/[^/]+)?/api/rest(?:/|$)")
_UNREAD = {
    408: "The request did not come to its end in time.",
    431: "The head of the request is too large.",
}

log = logging.getLogger("hub.powerstore")


def routes(front: Front) -> list[BaseRoute]:
    """All routes of the dialect."""
    application = Rest(front)
    paths = [prefix + rest for prefix in PREFIXES for rest in ("", "/{rest:path}")]
    return [*(Route(path, application) for path in paths), *(WebSocketRoute(path, _no_sockets) for path in paths)]


def worded(path: str, status: int) -> tuple[str, bytes] | None:
    """Media type and body of a refusal that the server makes before a request can be read; None for a path that is not
    the dialect's. Whatever its status, to a client of this API such a request is malformed."""
    if _MINE.match(path) is None:
        return None
    detail = _UNREAD.get(status, "The request is malformed.")
    return "application/json", orjson.dumps(wire.entity(400, detail))


class Rest:
    """The dialect as one ASGI application, so that every error below its prefixes is a message entity."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        except HubError as error:
            response = _told(error)
            if getattr(request.state, "looked_up", False):
                response.headers["idempotent-replayed"] = "false"
        except Exception:
            # Its clients take nothing but JSON; the bug is told to the operator.
            log.exception("a request failed")
            response = _response(500, wire.entity(500, "The hub failed on this request."))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        await self._front.sessions.open()
        exchange = await exchange_of(self._front, request)
        exchange.segments = segments_of(request)
        if not exchange.segments:
            raise NotFound("The address names no resource.", code="unknown-type")
        respond = TYPES.get(exchange.segments[0], resources.respond)
        return await respond(exchange)


async def _no_sockets(socket: WebSocket) -> None:
    await socket.send_denial_response(_told(MethodNotAllowed("WebSockets are not offered here.")))


def _told(error: HubError) -> Response:
    status, entity = wire.told(error)
    response = _response(status, entity)
    if status == 401:
        response.headers["www-authenticate"] = 'Basic realm="array"'
    if status == 503:
        response.headers["retry-after"] = wire.seconds(error.retry_after if isinstance(error, Refusal) else None)
    return response


def _response(status: int, value: object) -> Response:
    return Response(orjson.dumps(value), status, {"cache-control": "no-store"}, "application/json")
