"""The native stream's conversation with one client: frames in, answers out, many channels on one socket.

It knows frames as members, not as bytes on a socket (`websocket.py`), and calls as something that somebody
else submits: `submit` takes the members of a `call` frame and returns those of `accepted`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from anyio.abc import TaskGroup

from hub import __version__
from hub.core.channels import Channel, full_name
from hub.core.limits import TokenBucket
from hub.delivery import frames
from hub.delivery.envelope import NativeView
from hub.delivery.listener import Listener
from hub.delivery.listening import Listening
from hub.delivery.outlet import Outlet
from hub.delivery.reader import Reader
from hub.delivery.subscription import Start, Subscription, reader_name, start_of
from hub.model.errors import BadRequest, Conflict, HubError, NotAllowed, NotFound, TooMany
from hub.model.event import Position
from hub.model.principal import Principal, Scope

DELETED = 4503
DISPLACED = 4501
TOO_MANY = 4013
INTERNAL = 1011

CALLS_AT_ONCE = 64

Submit = Callable[[Principal, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
Problem = Callable[[HubError], Mapping[str, Any]]


class Session:
    """One client of the native stream. `take` is given every frame; everything else happens by itself."""

    def __init__(
        self,
        listening: Listening,
        principal: Principal,
        view: NativeView,
        outlet: Outlet,
        group: TaskGroup,
        submit: Submit,
        problem: Problem,
    ) -> None:
        self._listening = listening
        self._principal = principal
        self._view = view
        self._outlet = outlet
        self._group = group
        self._submit = submit
        self._problem = problem
        self._subscriptions: dict[str, Subscription] = {}
        self._calls = anyio.Semaphore(CALLS_AT_ONCE)
        rate = listening.limits.subscribes_per_second
        self._subscribes = TokenBucket(rate, rate, listening.clock)

    def welcome(self) -> None:
        """The first frame: who speaks, and within which limits."""
        limits = self._listening.limits
        self._send(
            type="welcome",
            version=__version__,
            limits={
                "message": limits.message,
                "subscribes-per-second": limits.subscribes_per_second,
                "subscriptions": limits.subscriptions,
                "payload": limits.payload,
            },
        )

    async def take(self, members: Mapping[str, Any]) -> None:
        """Answer one frame of the client; what is wrong with it is answered by an `error` frame."""
        kind = members.get("type")
        try:
            match kind:
                case "subscribe":
                    if self._within_rate():
                        await self._asked_to_subscribe(members)
                case "unsubscribe":
                    if self._within_rate():
                        await self._asked_to_unsubscribe(members)
                case "ack":
                    self._acknowledged(members)
                case "call":
                    await self._calls.acquire()
                    self._group.start_soon(self._call, members)
                case "ping":
                    self._send(type="pong", n=members.get("n"))
                case _:
                    raise BadRequest("the frame's type is not known", code="unknown-frame")
        except HubError as error:
            self._refuse(members, error)

    async def subscribe(self, channel: Channel, start: Start, name: str | None = None, *, own: bool = False) -> None:
        """Deliver the channel from the start, or a durable name from where it came to.

        A name that was here before goes on from its stored position unless an exact one is given, which is where it
        stands from then on; `from` counts for a new name only. Where it begins is stored before anything is delivered,
        so that a break before the first acknowledgement loses nothing. `own` ties the socket's life to this
        subscription. Raises BadRequest, Conflict, TooMany, StorageFailed.
        """
        if channel.name in self._subscriptions:
            raise Conflict("this socket has subscribed to the channel already", code="already-subscribed")
        if len(self._subscriptions) >= self._listening.limits.subscriptions:
            raise TooMany("the socket has as many subscriptions as it may", code="too-many-subscriptions")
        position = start.on(channel)
        reader: Reader | None = None
        known = False
        if name is not None:
            position, reader, known = await self._read_as(channel, name, start)
        if channel.deleted:
            raise NotFound("the channel was deleted", code="channel-not-found")
        listening = self._listening
        listener = Listener(
            listening.channels,
            listening.lanes,
            listening.lanes.lane(channel, self._view),
            self._outlet.sink,
            position,
            self._group.start_soon,
            failed=lambda error: self._failed(subscription, error),
            delivered=None if reader is None else reader.delivered,
            page=listening.limits.listener_events,
        )
        subscription = Subscription(channel, listener, own, reader)
        self._subscriptions[channel.name] = subscription
        subscription.unmourn = channel.when_deleted(lambda: self._end(subscription, DELETED, "the channel was deleted"))
        if reader is not None:
            subscription.leave_seat = listening.seats.take(
                channel.name,
                reader.name,
                lambda code: self._end(
                    subscription, code or DISPLACED, "the name was forgotten" if code else "a newer socket has the name"
                ),
            )
        exact = start.exact is not None
        if reader is not None and not await self._stands(subscription, reader, position, known=known, exact=exact):
            return
        self._send(type="subscribed", channel=channel.name, epoch=position.epoch, offset=position.offset)
        self._outlet.add(listener)

    async def close(self) -> None:
        """The socket has ended: let go of everything, storing what was acknowledged."""
        for subscription in tuple(self._subscriptions.values()):
            self._leave(subscription)
            if subscription.reader is not None:
                await subscription.reader.stop()

    def _within_rate(self) -> bool:
        if self._subscribes.take() == 0.0:
            return True
        self._outlet.close(TOO_MANY, "too many subscribe frames")
        return False

    async def _asked_to_subscribe(self, members: Mapping[str, Any]) -> None:
        name = self._named_channel(members)
        if not self._principal.may(Scope.LISTEN):
            raise NotAllowed("the key may not listen")
        start = start_of(members)
        if members.get("name") is not None:
            reader_name(self._principal.application, members["name"])
        channel = await self._listening.channels.open(name, self._principal.account)
        await self.subscribe(channel, start, members.get("name"))

    async def _asked_to_unsubscribe(self, members: Mapping[str, Any]) -> None:
        subscription = self._subscribed(members)
        self._leave(subscription)
        if subscription.reader is not None:
            await subscription.reader.stop()
        self._send(type="unsubscribed", channel=subscription.channel.name)

    def _acknowledged(self, members: Mapping[str, Any]) -> None:
        subscription = self._subscribed(members)
        offset = members.get("offset")
        if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
            raise BadRequest("the offset is an integer from 0", code="bad-position")
        if offset > subscription.listener.offset:
            raise BadRequest("the offset was not delivered yet", code="bad-position")
        if subscription.reader is not None:
            subscription.reader.ack(offset)

    def _named_channel(self, members: Mapping[str, Any]) -> str:
        name = members.get("channel")
        if not isinstance(name, str):
            raise BadRequest("the channel is a text", code="bad-channel-name", fields=(("/channel", "a text"),))
        return full_name(self._principal.application, name)

    def _subscribed(self, members: Mapping[str, Any]) -> Subscription:
        subscription = self._subscriptions.get(self._named_channel(members))
        if subscription is None:
            raise NotFound("the socket has no such subscription", code="not-subscribed")
        return subscription

    async def _read_as(self, channel: Channel, name: str, start: Start) -> tuple[Position, Reader, bool]:
        """Where a name begins, who reads for it, and whether the name was known before."""
        listening, reader = self._listening, reader_name(self._principal.application, name)
        stored = await listening.log.position(channel.name, reader)
        position = stored if stored is not None and start.exact is None else start.on(channel)
        begun = position.offset if position.epoch == channel.epoch else 0
        made = Reader(listening.log, listening.clock, self._outlet.sink, self._group.start_soon, channel, reader, begun)
        return position, made, stored is not None

    async def _stands(
        self, subscription: Subscription, reader: Reader, position: Position, *, known: bool, exact: bool
    ) -> bool:
        """Store where a name begins; False if the subscription has ended meanwhile, and was told so.

        The seat is taken already: what an older holder still had to store can no longer undo this.
        """
        try:
            await self._listening.names.place(reader.channel, reader.name, position, known=known, exact=exact)
        except BaseException:
            self._leave(subscription)
            raise
        return self._subscriptions.get(reader.channel.name) is subscription

    async def _call(self, members: Mapping[str, Any]) -> None:
        try:
            if not self._principal.may(Scope.CALL):
                raise NotAllowed("the key may not call")
            answer = await self._submit(self._principal, members)
        except HubError as error:
            self._refuse(members, error)
        else:
            told = {word: value for word, value in answer.items() if word not in ("type", "id")}
            self._send(type="accepted", id=members.get("id"), **told)
        finally:
            self._calls.release()

    def _leave(self, subscription: Subscription) -> None:
        """Take a subscription off; its reader is stopped by the caller, who may wait."""
        if self._subscriptions.get(subscription.channel.name) is subscription:
            del self._subscriptions[subscription.channel.name]
        self._outlet.remove(subscription.listener)
        if subscription.unmourn is not None:
            subscription.unmourn()
        if subscription.leave_seat is not None:
            subscription.leave_seat()

    def _end(self, subscription: Subscription, code: int, reason: str) -> None:
        """The hub ends a subscription; the socket goes with it if it was opened for it (decisions F6)."""
        if self._subscriptions.get(subscription.channel.name) is not subscription:
            return
        self._leave(subscription)
        if subscription.reader is not None:
            subscription.reader.displace()
        if self._outlet.closed is None:
            self._send(type="unsubscribed", channel=subscription.channel.name, code=code)
        if subscription.own:
            self._outlet.close(code, reason)

    def _failed(self, subscription: Subscription, error: HubError | None) -> None:
        if isinstance(error, NotFound):
            self._end(subscription, DELETED, "the channel was deleted")
            return
        if self._outlet.closed is None and error is not None:
            self._send(type="error", channel=subscription.channel.name, problem=self._problem(error))
        # The client reconnects with its position: nothing is lost, and nothing is skipped silently.
        self._outlet.close(INTERNAL, "the channel cannot be read now")

    def _refuse(self, members: Mapping[str, Any], error: HubError) -> None:
        told: dict[str, Any] = {"type": "error"}
        told.update((word, members[word]) for word in ("id", "channel") if isinstance(members.get(word), str | int))
        self._send(**told, problem=self._problem(error))

    def _send(self, **members: Any) -> None:
        self._outlet.write(frames.data(self._view.encode(members), binary=self._view.binary))
