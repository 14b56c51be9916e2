"""The paths of the native dialect, each with its methods; whatever else begins with `/v1` is a problem."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Route, WebSocketRoute

from hub.core.hub import Hub
from hub.delivery.listening import Listening
from hub.delivery.outgoing.outgoing import Outgoing
from hub.delivery.request_resource import Fallback, Handler, Resource
from hub.dialects.native.access import AccessRoutes
from hub.dialects.native.calls import CallRoutes
from hub.dialects.native.channels import ChannelRoutes
from hub.dialects.native.deliveries import DeliveryRoutes
from hub.dialects.native.devices import DeviceRoutes
from hub.dialects.native.listen import ListenRoutes
from hub.dialects.native.problem import problem_response
from hub.dialects.native.products import ProductRoutes

PREFIX = "/v1"


def routes(
    hub: Hub, listening: Listening, origins: Iterable[str] = (), outgoing: Outgoing | None = None
) -> list[BaseRoute]:
    """All routes of the dialect; `origins` are further web origins whose pages may open the stream. Without
    `outgoing` the hub calls nobody back and has no paths about that."""
    calls, devices, channels = CallRoutes(hub), DeviceRoutes(hub), ChannelRoutes(hub)
    access, listen, products = AccessRoutes(hub), ListenRoutes(hub, listening, origins), ProductRoutes(hub)
    device = "/devices/{device}"
    observation = device + "/observations/{path:path}"
    # A channel may be named in full, `<application>/<name>`, so its part of the path holds slashes.
    channel = "/channels/{name:path}"
    return [
        _route(f"{device}/calls", POST=calls.submit),
        WebSocketRoute(f"{PREFIX}/stream", listen.stream),
        _route("/calls", GET=calls.listing),
        _route("/calls/{call}", GET=calls.get, DELETE=calls.cancel),
        _route("/devices", GET=devices.listing),
        _route(device, GET=devices.get, PUT=devices.put, DELETE=devices.delete),
        _route(f"{device}/credentials", PUT=devices.put_credentials),
        _route(f"{device}/observations", GET=devices.list_observations),
        _route(
            observation,
            GET=devices.get_observation,
            PUT=devices.put_observation,
            DELETE=devices.delete_observation,
        ),
        _route("/channels", GET=channels.listing),
        _route(f"{channel}/messages", head=False, GET=listen.messages),
        _route(f"{channel}/events", head=False, GET=listen.events),
        _route(f"{channel}/readers", GET=listen.readers),
        _route(f"{channel}/readers/{{reader:path}}", DELETE=listen.forget_reader),
        _route(channel, GET=channels.get, DELETE=channels.delete),
        _route("/products", GET=products.listing),
        _route("/products/{product}", GET=products.get, PUT=products.put, DELETE=products.delete),
        _route("/me", GET=access.me),
        _route("/keys", GET=access.list_keys, POST=access.create_key),
        _route("/keys/{key}", DELETE=access.revoke_key),
        _route("/stream", GET=listen.no_upgrade),
        *([] if outgoing is None else _deliveries(DeliveryRoutes(hub, outgoing))),
        Fallback(PREFIX, problem_response),
    ]


def _deliveries(deliveries: DeliveryRoutes) -> list[Route]:
    return [
        _route("/callback-secret", GET=deliveries.get_secret, POST=deliveries.tell_secret),
        _route("/dead-letters", GET=deliveries.letters),
        _route("/dead-letters/replay", POST=deliveries.replay),
    ]


def _route(path: str, *, head: bool = True, **methods: Handler) -> Route:
    return Route(PREFIX + path, Resource(problem_response, methods, head=head))
