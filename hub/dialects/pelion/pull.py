"""`/v2/notification/pull`: the poll that is held until there is something to say; the vendor's SDKs live on it.

An open poll is never dropped: whatever happens it is answered. There is one per application. A newcomer gets 409,
unless the one before is just ending or its client has gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.core.hub import Hub
from hub.core.stats import Stats
from hub.delivery.listening import Listening
from hub.delivery.openings import RESTART, REVOKED, Opening
from hub.delivery.request import request_query
from hub.delivery.sse import ABORT
from hub.dialects.pelion.channel import DELETED, PelionChannels
from hub.dialects.pelion.channel_life import Life, Turn
from hub.dialects.pelion.channel_queue import Batch
from hub.dialects.pelion.requests import principal_of, reads_singly
from hub.dialects.pelion.words import word_response
from hub.model.errors import Conflict, HubError, NotAuthenticated, Unavailable
from hub.model.principal import Principal
from hub.model.principal import Scope as Allowed

ENDING = 5.0
"""Seconds that a newcomer waits for a poll that is being answered."""
VANISHING = 0.1
"""Seconds in which a client that has gone is noticed; only then its successor is told that somebody polls."""
TURNS = 8
"""Turns of the loop after which the end of a connection that lies in the kernel already has come to our notice."""
DRAINING = 0.25
"""Seconds that a poll waits which comes while the hub goes down, so that its client does not spin."""

_SECOND = timedelta(seconds=1)


class PullRoutes:
    """Handlers of the long polls of one hub."""

    def __init__(self, hub: Hub, listening: Listening, channels: PelionChannels) -> None:
        self._hub = hub
        self._listening = listening
        self._channels = channels

    async def get(self, request: Request) -> ASGIApp:
        """One poll. It makes the channel if there is none."""
        principal = principal_of(self._hub, request, Allowed.LISTEN)
        request_query(request.scope)
        return _Poll(self._hub, self._listening, self._channels, principal, singly=reads_singly(request.scope))

    async def delete(self, request: Request) -> Response:
        """Remove the channel and end its open poll: always a success."""
        principal = principal_of(self._hub, request, Allowed.LISTEN)
        removed = await self._channels.delete_pull(principal)
        return PlainTextResponse("REMOVED" if removed else "ALREADY_DELETED")


class _Poll:
    """One poll from its arrival to the end of its answer."""

    def __init__(
        self, hub: Hub, listening: Listening, channels: PelionChannels, principal: Principal, *, singly: bool
    ) -> None:
        self._hub = hub
        self._listening = listening
        self._channels = channels
        self._principal = principal
        self._singly = singly
        self._life = channels.life(principal.application)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stats = self._hub.stats
        try:
            turn = await self._turn(receive)
        except Conflict as error:
            stats.pelion_polls["409"] += 1
            await word_response(error)(scope, receive, send)
            return
        if turn is None:
            return
        stats.pelion_polls_open += 1
        try:
            await self._serve(turn, scope, receive, _counting(send, stats))
        finally:
            stats.pelion_polls_open -= 1
            _leave(self._life, turn)

    async def _turn(self, receive: Receive) -> Turn | None:
        """The place of the one open poll; None if the client has gone before it was its turn. Raises Conflict while
        somebody else stays in it."""
        life = self._life
        if life.turn is None:
            return _take(life)
        turn, waited = None, False
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_until_gone, receive, group.cancel_scope)
                await _until_free(life)
                waited = True
                turn = _take(life)
                group.cancel_scope.cancel()
        except BaseException:
            if turn is not None:
                _leave(life, turn)
            raise
        if turn is None and waited:
            raise Conflict("another poll is open", code="concurrent-pull-request-received")
        return turn

    async def _serve(self, turn: Turn, scope: Scope, receive: Receive, send: Send) -> None:
        application = self._principal.application
        try:
            opening = self._listening.openings.open(self._principal.key_id, poll=True)
        except HubError as error:
            await (await _closed(error))(scope, receive, send)
            return
        self._hub.stats.polls += 1
        with opening, self._channels.connecting(application, opening):
            try:
                batch = await self._converse(turn, opening, scope, receive, send)
            finally:
                self._channels.polled(application)
            if batch is not None:
                channel = await self._channels.queue.channel(application, self._principal.account)
                await self._channels.queue.store(application, channel, batch.upto)

    async def _converse(
        self, turn: Turn, opening: Opening, scope: Scope, receive: Receive, send: Send
    ) -> Batch | None:
        """Hold and answer; the batch, if one was written whole to a client that was there till its last byte."""
        told: Batch | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(_until_gone, receive, group.cancel_scope)
            try:
                answer = await self._answer(opening)
            except HubError as error:
                answer = word_response(error)
            turn.answering = True
            if isinstance(answer, Batch):
                with anyio.move_on_after(self._listening.limits.slow_listener / _SECOND) as patience:
                    await _write_but_one(answer.body, send)
                    told = answer
                if patience.cancelled_caught:
                    _abort(scope)
            else:
                await answer(scope, receive, send)
            group.cancel_scope.cancel()
        if told is not None:
            await send({"type": "http.response.body", "body": told.body[-1:], "more_body": False})
        return told

    async def _answer(self, opening: Opening) -> Batch | Response:
        ended: list[int] = []
        with anyio.CancelScope() as scope:

            def end(code: int, reason: str) -> None:
                ended.append(code)
                scope.cancel()

            opening.on_end = end
            batch = await self._held()
            opening.on_end = _ignored
            return batch or _nothing_to_say()
        return _ended(ended[0])

    async def _held(self) -> Batch | None:
        """What there is to say, None when nothing came in time."""
        clock, life, application = self._hub.clock, self._life, self._principal.application
        view = replace(await self._channels.pull(self._principal), singly=self._singly)
        until = clock.monotonic() + self._listening.limits.poll_hold / _SECOND
        if life.cooling and not life.polling:
            until = min(until, life.cool_until)
        channel = await self._channels.queue.channel(application, self._principal.account)
        while True:
            batch = await self._channels.queue.next(application, channel, view)
            if batch is not None:
                return batch
            after = channel.head if life.position is None else life.position.offset
            if not await self._hub.channels.wait(channel, after, until):
                return None


async def _until_free(life: Life) -> None:
    """Return when the place is free, or somebody stays in it.

    Others in this line may have gone already. Each of them has the place for a moment, if its end was not noticed
    before; so every turn is waited for anew, up to a bound.
    """
    with anyio.move_on_after(ENDING):
        while (turn := life.turn) is not None:
            answering = turn.answering
            with anyio.move_on_after(ENDING if answering else VANISHING) as patience:
                await turn.over.wait()
            if patience.cancelled_caught and turn.answering == answering:
                return


def _take(life: Life) -> Turn | None:
    """The place, if it is free."""
    if life.turn is not None:
        return None
    life.turn = turn = Turn()
    return turn


def _leave(life: Life, turn: Turn) -> None:
    life.turn = None
    turn.over.set()


def _counting(send: Send, stats: Stats) -> Send:
    """Counts the answer by its status, and a message as delivered once it is out whole."""
    status = ""

    async def counted(event: Message) -> None:
        nonlocal status
        if event["type"] == "http.response.start":
            status = str(event["status"])
            stats.pelion_polls[status] += 1
        await send(event)
        if status == "200" and event["type"] == "http.response.body" and not event.get("more_body"):
            stats.deliveries += 1

    return counted


async def _write_but_one(body: bytes, send: Send) -> None:
    """Write a message but for its last byte, and return once that has left us and an end of the client was noticed.

    Whoever has a message whole may go at once, as a vendor's SDK does, so its going would prove nothing any more.
    """
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body[:-1], "more_body": True})
    # The server waits here until its buffer has room again; meanwhile a client that has gone is noticed.
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    for _ in range(TURNS):
        await anyio.lowlevel.checkpoint()


async def _closed(error: HubError) -> Response:
    """The answer when no poll can be taken. While the hub goes down that is 204 all the same, but not in a hurry."""
    if not (isinstance(error, Unavailable) and error.code == "draining"):
        return word_response(error)
    await anyio.sleep(DRAINING)
    return _ended(RESTART)


def _ended(code: int) -> Response:
    """The answer to a poll that the hub ends."""
    if code == DELETED:
        return PlainTextResponse("CHANNEL_DELETED", 410)
    if code == REVOKED:
        return word_response(NotAuthenticated("the key was revoked"))
    if code == RESTART:
        # The next poll of this client must come on a connection of the next process.
        return Response(status_code=204, headers={"connection": "close"})
    return _nothing_to_say()


def _nothing_to_say() -> Response:
    return Response(status_code=204)


def _abort(scope: Scope) -> None:
    abort: Callable[[], Any] | None = scope.get("extensions", {}).get(ABORT)
    if abort is not None:
        abort()


def _ignored(code: int, reason: str) -> None:
    """The poll is being answered already."""


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while True:
        if (await receive())["type"] == "http.disconnect":
            scope.cancel()
            return
