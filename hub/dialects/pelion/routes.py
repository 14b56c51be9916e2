"""The paths of the Connect dialect, each with its methods; whatever else begins with `/v2` is answered with a word,
with `/v3` by an error object."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from starlette.routing import BaseRoute, Route, WebSocketRoute

from hub.core.hub import Hub
from hub.delivery.listening import Listening
from hub.delivery.outgoing.guard import Guard
from hub.delivery.request_resource import Fallback, Handler, Resource
from hub.dialects.pelion.callback import CallbackRoutes
from hub.dialects.pelion.channel_service import ChannelService
from hub.dialects.pelion.devices import DeviceDirectory, error_response
from hub.dialects.pelion.direct import DirectCalls
from hub.dialects.pelion.endpoints import Endpoints
from hub.dialects.pelion.folding import Folding
from hub.dialects.pelion.notification import Notification
from hub.dialects.pelion.presubscriptions import Presubscriptions
from hub.dialects.pelion.pull import PullRoutes
from hub.dialects.pelion.requests import DeviceRequests
from hub.dialects.pelion.subscriptions import Subscriptions
from hub.dialects.pelion.wire_resources import said_directly, said_of_subscription
from hub.dialects.pelion.words import word_response

PREFIX = "/v2"
DIRECTORY = "/v3"


def routes(
    hub: Hub,
    listening: Listening,
    origins: Iterable[str] = (),
    service: ChannelService | None = None,
    *,
    asynchronous_subscriptions: bool = False,
) -> list[BaseRoute]:
    """All routes of the dialect; `origins` are further web origins whose pages may open its socket.

    `service` is run by whoever gives it; without one there are no callbacks (503).
    """
    service = service or ChannelService(hub, listening, Guard(hub.clock))
    requests = DeviceRequests(hub)
    endpoints, direct, devices = Endpoints(hub), DirectCalls(hub), DeviceDirectory(hub)
    subscriptions = Subscriptions(hub, service.channels, asynchronous=asynchronous_subscriptions)
    presubscriptions = Presubscriptions(hub, service.channels)
    notification = Notification(hub, listening, service.channels, origins)
    callback = CallbackRoutes(hub, service.channels, service.readers, service.guard)
    pull = PullRoutes(hub, listening, service.channels)
    table: list[BaseRoute] = [
        _route("/device-requests/{device}", POST=requests.submit),
        _route("/notification/websocket", GET=notification.get, PUT=notification.put, DELETE=notification.delete),
        _route("/notification/websocket-connect", GET=notification.no_upgrade),
        WebSocketRoute(f"{PREFIX}/notification/websocket-connect", notification.connect),
        _route("/notification/callback", GET=callback.get, PUT=callback.put, DELETE=callback.delete),
        _route("/notification/pull", head=False, GET=pull.get, DELETE=pull.delete),
        _route("/notification/channel", GET=notification.mechanism),
        _route("/endpoints", GET=endpoints.listing),
        _route("/endpoints/{device}", GET=endpoints.resources),
        Route(
            f"{PREFIX}/endpoints/{{device}}/{{path:path}}",
            # A HEAD here would be a call that nobody meant.
            Resource(
                partial(word_response, said=said_directly),
                {"GET": direct.get, "PUT": direct.call, "POST": direct.call, "DELETE": direct.call},
                head=False,
            ),
        ),
        _route("/subscriptions", GET=presubscriptions.get, PUT=presubscriptions.put, DELETE=presubscriptions.delete),
        _subscribed("/{device}", GET=subscriptions.get, DELETE=subscriptions.delete),
        _subscribed(
            "/{device}/{path:path}", GET=subscriptions.get, PUT=subscriptions.put, DELETE=subscriptions.delete
        ),
        Fallback(PREFIX, word_response),
        *(
            Route(path, Resource(error_response, {"GET": handler}))
            for slash in ("/", "")
            for path, handler in (
                (f"{DIRECTORY}/devices{slash}", devices.listing),
                (f"{DIRECTORY}/devices/{{device}}{slash}", devices.get),
            )
        ),
        Fallback(DIRECTORY, error_response),
    ]
    return [Folding((PREFIX, DIRECTORY), table), *table]


def _subscribed(path: str, **methods: Handler) -> Route:
    told = partial(word_response, said=said_of_subscription)
    return Route(f"{PREFIX}/subscriptions{path}", Resource(told, methods))


def _route(path: str, *, head: bool = True, **methods: Handler) -> Route:
    return Route(PREFIX + path, Resource(word_response, methods, head=head))
