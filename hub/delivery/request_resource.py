"""One path of a dialect as an ASGI application: a table of methods, and one place where errors are told.

A dialect gives its own `tell`, so that every refusal under its prefix (an unknown path and a wrong method
too) has the dialect's shape. What is no HubError is a bug and stays loud.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.model.errors import HubError, MethodNotAllowed, NotFound

Handler = Callable[[Request], Awaitable[ASGIApp]]
Tell = Callable[[HubError], Response]


class Resource:
    """The methods of one path. HEAD is answered as GET (the server leaves the body out) unless `head` is False.

    A handler returns what answers: a Response, or another ASGI application for answers that take their time.
    """

    def __init__(self, tell: Tell, methods: Mapping[str, Handler], *, head: bool = True) -> None:
        self._tell = tell
        self._methods = dict(methods)
        if head and "GET" in self._methods:
            self._methods["HEAD"] = self._methods["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            handler = self._methods.get(scope["method"])
            if handler is None:
                raise MethodNotAllowed("the path does not know this method")
            answer = await handler(Request(scope, receive, send))
        except HubError as error:
            answer = told = self._tell(error)
            if told.status_code == 405:
                told.headers["allow"] = ", ".join(self._methods)
        except ClientDisconnect:
            return
        await answer(scope, receive, send)


class Fallback(BaseRoute):
    """Everything under a prefix that no route before it took: 404 in the dialect's shape, for WebSockets too."""

    def __init__(self, prefix: str, tell: Tell) -> None:
        self._prefix = prefix
        self._tell = tell

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = scope.get("path", "")
        mine = path == self._prefix or path.startswith(self._prefix + "/")
        return (Match.FULL if mine and scope["type"] in ("http", "websocket") else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = self._tell(NotFound("there is no such path", code="no-such-path"))
        if scope["type"] == "websocket":
            await receive()
        await response(scope, receive, send)
