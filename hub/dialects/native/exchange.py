"""What every native request goes through: who asks, may they, the body read once, the answer in the form asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hub.core.hub import Hub
from hub.delivery.request import request_body, request_key, request_query
from hub.delivery.request_data import Form, decode, encode, form_of_body, form_wanted
from hub.model.errors import NotAllowed
from hub.model.principal import Principal, Scope


class Exchange:
    """One authenticated request and the way to answer it."""

    __slots__ = ("_hub", "body", "principal", "query", "request")

    def __init__(self, hub: Hub, request: Request, *any_of: Scope) -> None:
        """Judge the key, then the scopes (one of `any_of`, or any at all), then the query. Raises Refusals."""
        self._hub = hub
        self.request = request
        self.principal: Principal = hub.access.authenticate(request_key(request.scope))
        if any_of and not any(self.principal.may(scope) for scope in any_of):
            raise NotAllowed("the key needs the scope " + " or ".join(scope.value for scope in any_of))
        self.query: dict[str, str] = request_query(request.scope)
        self.body = b""

    async def value(self, limit: int | None = None) -> tuple[Any, Form]:
        """The decoded body and its form; `body` keeps the bytes. Raises UnsupportedMedia, TooLarge, BadRequest."""
        form = form_of_body(self.request.scope)
        self.body = await request_body(self.request, self._hub.limits.body if limit is None else limit)
        return decode(self.body, form), form

    @property
    def form(self) -> Form:
        """The form of the answer."""
        return form_wanted(self.request.scope)

    def answer(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """A response with a value in the form asked for."""
        form = self.form
        return Response(encode(value, form), status, dict(headers or {}), form.value)
