"""The paths of the Connect dialect, each with its methods; whatever else begins with `/v2` is answered with a word."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Route, WebSocketRoute

from hub.core.hub import Hub
from hub.delivery.listening import Listening
from hub.delivery.request_resource import Fallback, Handler, Resource
from hub.dialects.pelion.notification import Notification
from hub.dialects.pelion.requests import DeviceRequests
from hub.dialects.pelion.words import word_response

PREFIX = "/v2"


def routes(hub: Hub, listening: Listening, origins: Iterable[str] = ()) -> list[BaseRoute]:
    """All routes of the dialect; `origins` are further web origins whose pages may open its socket."""
    requests = DeviceRequests(hub)
    notification = Notification(hub, listening, origins)
    return [
        _route("/device-requests/{device}", POST=requests.submit),
        _route("/notification/websocket", GET=notification.get, PUT=notification.put, DELETE=notification.delete),
        _route("/notification/websocket-connect", GET=notification.no_upgrade),
        WebSocketRoute(f"{PREFIX}/notification/websocket-connect", notification.connect),
        _route("/notification/channel", GET=notification.mechanism),
        Fallback(PREFIX, word_response),
    ]


def _route(path: str, **methods: Handler) -> Route:
    return Route(PREFIX + path, Resource(word_response, methods))
