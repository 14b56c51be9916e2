"""`GET /v1/stream` as an ASGI endpoint: who may enter, in which encoding, and the frames of a session.

Refusals are real HTTP answers before the upgrade. What the front knows (keys, how a refusal is worded,
how a call is submitted) is given in; this module knows no dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.websockets import WebSocket

from hub.core.channels import Channel, full_name
from hub.delivery.envelope import NativeView
from hub.delivery.listening import Listening
from hub.delivery.openings import Opening
from hub.delivery.outlet import Outlet
from hub.delivery.request import request_query, subprotocols
from hub.delivery.request_data import decode_json, decode_msgpack
from hub.delivery.session import Problem, Session, Submit
from hub.delivery.socket import check_origin, messages, outlet_of
from hub.delivery.subscription import Start, reader_name, start_of_query
from hub.model.errors import BadRequest, HubError, NotAllowed, NotFound
from hub.model.principal import Principal, Scope

JSON = "hub.v1.json"
MSGPACK = "hub.v1.msgpack"

WRONG_KIND = 1003
BAD_DATA = 1007

Authenticate = Callable[[WebSocket], Principal]
Denial = Callable[[HubError], Response]


class Stream:
    """The endpoint; `endpoint` is what a WebSocketRoute takes.

    `authenticate` tells whose socket it is and raises Refusal; `denial` words a refusal as an HTTP response, `problem`
    as the member of an `error` frame; `submit` takes the members of a `call` frame. `origins` are further
    web origins that may connect.
    """

    def __init__(
        self,
        listening: Listening,
        authenticate: Authenticate,
        submit: Submit,
        problem: Problem,
        denial: Denial,
        origins: Iterable[str] = (),
    ) -> None:
        self._listening = listening
        self._authenticate = authenticate
        self._submit = submit
        self._problem = problem
        self._denial = denial
        self._origins = frozenset(origin.lower() for origin in origins)

    async def endpoint(self, websocket: WebSocket) -> None:
        """Serve one handshake, and the socket that comes of it."""
        try:
            check_origin(websocket, self._origins)
            subprotocol = _chosen(subprotocols(websocket.scope))
            principal = self._authenticate(websocket)
            query = request_query(websocket.scope)
            opening = self._listening.openings.open(principal.key_id)
        except HubError as error:
            await websocket.send_denial_response(self._denial(error))
            return
        with opening:
            try:
                wanted = await self._wanted(principal, query)
            except HubError as error:
                await websocket.send_denial_response(self._denial(error))
                return
            await websocket.accept(subprotocol)
            await self._converse(websocket, principal, opening, NativeView(binary=subprotocol == MSGPACK), wanted)

    async def _wanted(
        self, principal: Principal, query: Mapping[str, str]
    ) -> tuple[Channel, Start, str | None] | None:
        """The subscription that the URL asks for, judged before the upgrade."""
        if "channel" not in query:
            return None
        if not principal.may(Scope.LISTEN):
            raise NotAllowed("the key may not listen")
        name = full_name(principal.application, query["channel"])
        start = start_of_query(query)
        if "name" in query:
            reader_name(principal.application, query["name"])
        channel = await self._listening.channels.open(name, principal.account)
        if channel.deleted:
            raise NotFound("the channel was deleted", code="channel-not-found")
        start.on(channel)
        return channel, start, query.get("name")

    async def _converse(
        self,
        websocket: WebSocket,
        principal: Principal,
        opening: Opening,
        view: NativeView,
        wanted: tuple[Channel, Start, str | None] | None,
    ) -> None:
        async with outlet_of(websocket, self._listening, opening) as (outlet, group):
            session = Session(self._listening, principal, view, outlet, group, self._submit, self._problem)
            try:
                session.welcome()
                if wanted is not None:
                    channel, start, name = wanted
                    await session.subscribe(channel, start, name, own=True)
                async for message in messages(websocket):
                    await outlet.room()
                    if outlet.closed is None:
                        await _take(session, outlet, view, message)
            finally:
                await session.close()


async def _take(session: Session, outlet: Outlet, view: NativeView, message: str | bytes) -> None:
    if isinstance(message, str) is view.binary:
        outlet.close(WRONG_KIND, "binary messages are due" if view.binary else "text messages are due")
        return
    try:
        members: Any = decode_json(message.encode()) if isinstance(message, str) else decode_msgpack(message)
    except BadRequest as error:
        outlet.close(BAD_DATA, error.detail)
        return
    await session.take(members if isinstance(members, dict) else {})


def _chosen(offered: list[str]) -> str | None:
    """The encoding that the client offers first; a client that offers nothing at all speaks JSON."""
    for word in offered:
        if word in (JSON, MSGPACK):
            return word
    if offered:
        raise BadRequest(f"the subprotocol is {JSON} or {MSGPACK}", code="bad-subprotocol")
    return None
