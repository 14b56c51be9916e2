"""The paths of the EnOS edge, each with its methods; whatever else begins like them is answered in the same form."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Route, WebSocketRoute

from hub.core.control_channels import CONTROL, SET
from hub.delivery.listening import Listening
from hub.delivery.request_resource import Fallback, Handler, Resource
from hub.dialects.enos.commands import CommandRoutes
from hub.dialects.enos.commands_failure import tell as tell_command
from hub.dialects.enos.control import ControlRoutes
from hub.dialects.enos.exchange import Front
from hub.dialects.enos.failure import tell
from hub.dialects.enos.invoke import CONTROLS, POINTS, InvokeRoutes
from hub.dialects.enos.stream import ControlStream
from hub.dialects.enos.token_routes import TokenRoutes
from hub.dialects.enos.token_routes import tell as tell_token

EDGE, LATER, CLOUD, TOKENS = "/dataService", "/edge-service", "/connectService", "/apim-token-service"
COMMANDS = "/connect-service"


def routes(front: Front, listening: Listening, origins: Iterable[str] = ()) -> list[BaseRoute]:
    """All routes of the dialect; `origins` are further web origins whose pages may open its sockets."""
    invoke, tokens = InvokeRoutes(front), TokenRoutes(front)
    controls = ControlRoutes(front, CONTROL, CONTROLS, "controlChannelId")
    points = ControlRoutes(front, SET, POINTS, "setMeasurepointChannelId")
    stream, commands = ControlStream(front, listening, origins), CommandRoutes(front)
    return [
        _route(f"{EDGE}/devices/multiInvoke", PUT=invoke.invoke),
        _route(f"{EDGE}/devices/multiSet", PUT=invoke.set),
        _route(f"{LATER}/v1/commands", PUT=invoke.commands),
        *(
            _route(f"{root}{named}/services/{{service:path}}/invoke", PUT=invoke.one)
            for root in (EDGE, CLOUD)
            for named in ("/devices/{asset}", "/products/{product}/devices/{device}")
        ),
        *_channels(f"{EDGE}/controlChannels", controls, stream),
        *_channels(f"{EDGE}/setMeasurepointChannels", points, stream),
        # A slip of the vendor's documents, which clients may have copied.
        _route(f"{EDGE}/subscribeGroups", GET=controls.listing),
        _route(f"{LATER}/v1/control-channel", POST=controls.act, PUT=controls.act, DELETE=controls.act),
        *(
            Route(f"{TOKENS}/v2.0/token/{word}", Resource(tell_token, {"POST": handler}))
            for word, handler in (("get", tokens.get), ("refresh", tokens.refresh))
        ),
        Route(f"{COMMANDS}/v2.1/commands", Resource(tell_command, {"GET": commands.read, "POST": commands.write})),
        Fallback(COMMANDS, tell_command),
        *(Fallback(prefix, tell) for prefix in (EDGE, LATER, CLOUD)),
        Fallback(TOKENS, tell_token),
    ]


def _channels(path: str, handlers: ControlRoutes, stream: ControlStream) -> list[BaseRoute]:
    return [
        _route(path, POST=handlers.make, GET=handlers.listing),
        WebSocketRoute(f"{path}/{{channel}}/stream", stream.connect),
        _route(f"{path}/{{channel}}", GET=handlers.get, PUT=handlers.put, DELETE=handlers.delete),
    ]


def _route(path: str, **methods: Handler) -> Route:
    return Route(path, Resource(tell, methods))
