"""Where the dialect answers: everything below `/api/rest`, for an array by name below `/arrays/{array}/api/rest`."""

from __future__ import annotations

import logging

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from hub.dialects.powerstore import resources, wire
from hub.dialects.powerstore.exchange import Front, exchange_of, segments_of
from hub.dialects.powerstore.hub_types import TYPES
from hub.model.errors import HubError, NotFound

PREFIXES = ("/api/rest", "/arrays/{array}/api/rest")

log = logging.getLogger("hub.powerstore")


def routes(front: Front) -> list[BaseRoute]:
    """All routes of the dialect."""
    application = Rest(front)
    return [Route(prefix + rest, application) for prefix in PREFIXES for rest in ("", "/{rest:path}")]


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


def _told(error: HubError) -> Response:
    status, entity = wire.told(error)
    response = _response(status, entity)
    if status == 401:
        response.headers["www-authenticate"] = 'Basic realm="array"'
    if status == 503:
        response.headers["retry-after"] = "1"
    return response


def _response(status: int, value: object) -> Response:
    return Response(orjson.dumps(value), status, {"cache-control": "no-store"}, "application/json")
