"""Listening on `/v1`: long poll, Server-Sent Events and the stream; each is delivery's, worded and keyed here."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from hub.core.channels import Channel, full_name
from hub.core.hub import Hub
from hub.delivery.envelope import as_base64, as_binary, gap_members, message, moment
from hub.delivery.listening import Listening
from hub.delivery.longpoll import poll
from hub.delivery.request import header, socket_key
from hub.delivery.request_data import Form
from hub.delivery.sse import EventStream, start_of_event_id
from hub.delivery.subscription import reader_name, start_of_query
from hub.delivery.websocket import Stream
from hub.dialects.native import wire
from hub.dialects.native.calls import CallRoutes
from hub.dialects.native.exchange import Exchange
from hub.dialects.native.problem import problem, problem_response, upgrade_required
from hub.model.errors import HubError, NotFound
from hub.model.event import Page, Position
from hub.model.principal import Principal, Scope

KEY_PREFIX = "key."


class ListenRoutes:
    """Handlers of the listeners of one hub. `origins` are further web origins that may connect."""

    def __init__(self, hub: Hub, listening: Listening, origins: Iterable[str] = ()) -> None:
        self._hub = hub
        self._listening = listening
        self._calls = CallRoutes(hub)
        self.stream = Stream(
            listening, self._authenticate, self._submit, self._problem, problem_response, origins
        ).endpoint

    async def messages(self, request: Request) -> Response:
        """`GET /v1/channels/{name}/messages`: 200 with messages, or 204 when `wait` seconds brought none.

        Either tells the position to ask from next: `epoch` and `offset`, `Hub-Position`.
        """
        exchange = Exchange(self._hub, request, Scope.LISTEN)
        query, limits = exchange.query, self._hub.limits
        limit = wire.whole_number(query, "limit", min(100, limits.page), 1, limits.page)
        longest = int(limits.poll_hold / timedelta(seconds=1))
        wait = wire.whole_number(query, "wait", longest, 0, 3600)
        start = start_of_query(query)
        channel = await self._channel(exchange.principal, request)
        position = start.on(channel)
        page = await poll(
            request, self._listening, exchange.principal, channel, position, limit, timedelta(seconds=wait)
        )
        if page is None or not (page.events or page.gap):
            return Response(status_code=204, headers=_position_headers(channel, position))
        position = _next(page)
        return exchange.answer(
            messages_view(page, channel, position, exchange.form), 200, _position_headers(channel, position)
        )

    async def events(self, request: Request) -> EventStream:
        """`GET /v1/channels/{name}/events`, from `Last-Event-ID` or the query's position."""
        exchange = Exchange(self._hub, request, Scope.LISTEN)
        last = header(request.scope, b"last-event-id").strip()
        start = start_of_event_id(last) if last else start_of_query(exchange.query)
        channel = await self._channel(exchange.principal, request)
        return EventStream(self._listening, exchange.principal, channel, start.on(channel), problem_response)

    async def readers(self, request: Request) -> Response:
        """`GET /v1/channels/{name}/readers`: the durable names on the channel and how far each has come."""
        exchange = Exchange(self._hub, request, Scope.LISTEN)
        names, own = self._listening.names, exchange.principal.application + "/"
        channel = await self._existing(exchange.principal, request)
        return exchange.answer(
            [
                {
                    "name": info.name.removeprefix(own),
                    "epoch": info.position.epoch,
                    "offset": info.position.offset,
                    "used-at": moment(info.used_at),
                    "held": names.held(info),
                }
                for info in await names.of(channel)
            ]
        )

    async def forget_reader(self, request: Request) -> Response:
        """`DELETE /v1/channels/{name}/readers/{reader}`: the name is gone; who holds it is told `unsubscribed`."""
        exchange = Exchange(self._hub, request, Scope.LISTEN)
        reader = reader_name(exchange.principal.application, request.path_params["reader"])
        channel = await self._existing(exchange.principal, request)
        if not await self._listening.names.forget(channel, reader):
            raise NotFound("no such reader", code="reader-not-found")
        return Response(status_code=204)

    async def no_upgrade(self, request: Request) -> Response:
        """`GET /v1/stream` without an upgrade: 426."""
        Exchange(self._hub, request)
        return upgrade_required()

    async def _channel(self, principal: Principal, request: Request) -> Channel:
        name = full_name(principal.application, request.path_params["name"])
        return await self._listening.channels.open(name, principal.account)

    async def _existing(self, principal: Principal, request: Request) -> Channel:
        name = full_name(principal.application, request.path_params["name"])
        channel = await self._listening.channels.find(name)
        if channel is None:
            raise NotFound("no such channel", code="channel-not-found")
        return channel

    def _authenticate(self, websocket: WebSocket) -> Principal:
        return self._hub.access.authenticate(socket_key(websocket.scope, KEY_PREFIX))

    async def _submit(self, principal: Principal, members: Mapping[str, Any]) -> Mapping[str, Any]:
        # JSON cannot hold bytes: a payload of bytes says which of the two forms the frame had.
        form = Form.MSGPACK if isinstance(members.get("payload"), bytes) else Form.JSON
        return await self._calls.submit_frame(principal, members, form)

    def _problem(self, error: HubError) -> Mapping[str, Any]:
        return problem(error, secrets.token_hex(8))


def messages_view(page: Page, channel: Channel, position: Position, form: Form) -> dict[str, Any]:
    """The body of a poll: messages in order, the gap before them if there is one, the position to ask from next."""
    packed = as_binary if form is Form.MSGPACK else as_base64
    view: dict[str, Any] = {
        "channel": channel.name,
        "epoch": position.epoch,
        "offset": position.offset,
        "messages": [message(event, packed) for event in page.events],
    }
    if page.gap is not None:
        view["gap"] = gap_members(page.gap, channel.name, page.epoch)
    return view


def _next(page: Page) -> Position:
    if page.events:
        return page.events[-1].position
    assert page.gap is not None
    return Position(page.epoch, page.gap.next)


def _position_headers(channel: Channel, position: Position) -> dict[str, str]:
    return {"hub-channel": channel.name, "hub-position": str(position), "cache-control": "no-store"}
