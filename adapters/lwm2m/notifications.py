"""Values that devices report because the hub observes them: fresh ones to the hub, the end of an observation too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from adapters.lwm2m import codec
from adapters.lwm2m.block import block_of
from adapters.lwm2m.codec import ACK, Message
from adapters.lwm2m.crew import Crew
from adapters.lwm2m.exchange import Peer
from adapters.lwm2m.observe import Mark, Observed
from adapters.lwm2m.operation import segments
from adapters.lwm2m.option import BLOCK2, OBSERVE, number
from adapters.lwm2m.registration import Registration
from adapters.lwm2m.registry import Registry
from adapters.lwm2m.response import response_of
from hub.model.errors import HubError
from hub.ports.adapter import AdapterContext, CallError, DeviceEvent, EventKind

MOST_READ = 500
"""How many observations may have a long notification read at a time."""

log = logging.getLogger("hub.adapter.lwm2m")


class _First(NamedTuple):
    """The first block of a long notification, and what is to be told when all of it is there."""

    registration: Registration
    observed: Observed
    message: Message
    event: DeviceEvent


@dataclass(slots=True)
class _Reading:
    """What is read for an observation: the newest that came meanwhile follows it, and no other. It is not told when a
    newer value was told meanwhile."""

    following: _First | None = None
    overtaken: bool = False


@dataclass(slots=True, eq=False)
class Held:
    """A value, judged when it came, that the hub takes in before it is acknowledged; with the newest one before it and
    from it on. `last`: the observation ends with it."""

    registration: Registration
    observed: Observed
    event: DeviceEvent
    before: Mark
    after: Mark
    last: bool


@dataclass(slots=True)
class _Open:
    """What the hub takes in just now of one observation, in order; every observation that ended behind it."""

    held: list[Held] = field(default_factory=list)
    ended: dict[Observed, Registration] = field(default_factory=dict)


class Reads(Protocol):
    """Reads the blocks behind the first of a notification."""

    async def __call__(self, registration: Registration, observed: Observed, first: Message) -> Message: ...


class Notifications:
    """Judges notifications by their freshness. `ended` is told of observations that a device ended, `relocate` of
    devices that are believed to be elsewhere."""

    def __init__(
        self, ctx: AdapterContext, crew: Crew, read_rest: Reads, registry: Registry,
        ended: Callable[[Registration], None], relocate: Callable[[Registration, Peer], None], follow_address: bool,
    ) -> None:
        self._ctx = ctx
        self._crew = crew
        self._registry = registry
        self._read_rest = read_rest
        self._ended = ended
        self._relocate = relocate
        self._follow_address = follow_address
        self._reading: dict[bytes, _Reading] = {}
        self._open: dict[bytes, _Open] = {}
        self.shed = 0
        self.stale = 0

    def begun(self, message: Message) -> None:
        """The answer to a request with the token of an observation: if it says so, that runs from now on.

        Told before anybody who waits for the answer runs, because a notification may follow in the same breath.
        """
        watched = self._registry.watched(message.token)
        if watched is not None and message.code >> 5 == 2:
            order = number(message.first(OBSERVE))
            if order is not None:
                watched[1].begin(order, self._ctx.clock.monotonic(), _mid(message))

    def heard(self, registration: Registration, observed: Observed, message: Message, peer: Peer) -> None:
        """A notification that waits for no acknowledgement; the hub may shed it."""
        if _incomplete(message):
            self._accept_later(registration, observed, message, peer)
            return
        event = self._event(registration, observed, message, peer)
        if event is not None:
            self._overtake(observed)
            if not self._ctx.emit(event):
                self.shed += 1
        if _is_last(message):
            self._end(registration, observed)

    def judge(self, registration: Registration, observed: Observed, message: Message, peer: Peer) -> Held | bool:
        """A notification that waits for its acknowledgement. It is judged at once, in the order in which they come:
        True is to be acknowledged, False is to come again, and what is to be held goes to `hold`."""
        if _incomplete(message):
            # The device may take no request before its acknowledgement, so that cannot wait for the rest.
            return self._accept_later(registration, observed, message, peer)
        before = observed.mark
        event = self._event(registration, observed, message, peer)
        if event is None:
            if _is_last(message):
                self._end(registration, observed)
            return True
        self._overtake(observed)
        held = Held(registration, observed, event, before, observed.mark, _is_last(message))
        self._open.setdefault(observed.token, _Open()).held.append(held)
        return held

    async def hold(self, held: Held) -> bool:
        """Give it to the hub, once; True when the hub holds it, False when it is to come again."""
        kept = False
        try:
            await self._ctx.accept(held.event)
            kept = True
        except HubError as error:
            log.warning("a notification could not be taken: %s", error)
        finally:
            self._settle(held, kept)
        return kept

    def _settle(self, held: Held, kept: bool) -> None:
        there, observed = self._open[held.observed.token], held.observed
        behind = there.held[there.held.index(held) + 1 :]
        there.held.remove(held)
        if kept and held.last:
            there.ended[observed] = held.registration
        if not kept:
            # As if it had not come: neither for those that come from now on nor for what fails behind it.
            if observed.mark == held.after:
                observed.mark = held.before
            for later in behind:
                if later.before == held.after:
                    later.before = held.before
        if not there.held:
            del self._open[observed.token]
            for ended, registration in there.ended.items():
                self._end(registration, ended)

    def _accept_later(self, registration: Registration, observed: Observed, message: Message, peer: Peer) -> bool:
        """Have the rest of it read; False where too many are read already and it is to come again."""
        if observed.token not in self._reading and len(self._reading) >= MOST_READ:
            self.shed += 1
            return False
        event = self._event(registration, observed, message, peer)
        if event is None:
            return True
        first = _First(registration, observed, message, event)
        reading = self._reading.get(observed.token)
        if reading is not None:
            self.shed += reading.following is not None
            reading.following = first
        else:
            reading = self._reading[observed.token] = _Reading()
            self._crew.spawn(self._read(first, reading), "notification")
        return True

    def _overtake(self, observed: Observed) -> None:
        """A whole value is told now: what is still read is older."""
        reading = self._reading.get(observed.token)
        if reading is not None:
            self.shed += reading.following is not None
            reading.following, reading.overtaken = None, True

    async def _read(self, first: _First, reading: _Reading) -> None:
        try:
            following: _First | None = first
            while following is not None:
                await self._read_one(following, reading)
                following, reading.following, reading.overtaken = reading.following, None, False
        finally:
            del self._reading[first.observed.token]

    async def _read_one(self, first: _First, reading: _Reading) -> None:
        try:
            whole = await self._read_rest(first.registration, first.observed, first.message)
            if reading.overtaken:
                self.shed += 1
            else:
                path = segments(first.observed.spec.target)
                attrs = {**first.event.attrs, "native": response_of(whole, path=path).native}
                await self._ctx.accept(replace(first.event, payload=whole.payload, attrs=attrs))
        except (CallError, HubError) as error:
            self.shed += 1
            log.info("a notification of %s could not be read whole: %s", first.observed.spec.target, error)

    def _event(
        self, registration: Registration, observed: Observed, message: Message, peer: Peer
    ) -> DeviceEvent | None:
        """What to tell of a notification; None when it is older than the last or holds no value."""
        now = self._ctx.clock.monotonic()
        order = number(message.first(OBSERVE))
        if message.code != codec.CONTENT or not observed.active:
            return None
        if not observed.takes(order, now, _mid(message)):
            self.stale += 1
            return None
        if peer != registration.peer and (self._follow_address or registration.identity is not None):
            # With DTLS the session proves that it is the device; without, only a setting makes us believe it.
            self._relocate(registration, peer)
        response = response_of(message, path=segments(observed.spec.target))
        return DeviceEvent(
            EventKind.NOTIFICATION, registration.address, now, target=observed.spec.target, payload=message.payload,
            content_type=response.content_type, seq=order,
            attrs={
                "max_age": response.max_age, "observed": True, "proved": registration.identity is not None,
                "native": response.native,
            },
        )

    def _end(self, registration: Registration, observed: Observed) -> None:
        """The device observes it no longer; told behind what the hub takes in just now."""
        there = self._open.get(observed.token)
        if there is not None:
            # The observation may have been asked for again since what is held came: it is this one that ends.
            there.ended[observed] = registration
        elif self._registry.unwatch(registration, observed):
            observed.active = False
            now = self._ctx.clock.monotonic()
            self._ctx.emit(DeviceEvent(EventKind.OBSERVE_ENDED, registration.address, now, target=observed.spec.target))
            self._ended(registration)


def _mid(message: Message) -> int | None:
    """The id that the device gave the message; an acknowledgement has that of the request."""
    return None if message.kind == ACK else message.mid


def _is_last(message: Message) -> bool:
    """An error, or an answer without a number, is the last that the device says of it (RFC 7641, 3.2)."""
    return message.code >> 5 != 2 or message.first(OBSERVE) is None


def _incomplete(message: Message) -> bool:
    try:
        block = block_of(message.first(BLOCK2))
    except ValueError:
        return False
    return block is not None and block.more and block.number == 0
