"""One registered device: where it is, how long, whether it sleeps, how many requests it works on.

Ten thousand of these stand in memory, so they have slots and share what can be shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from adapters.lwm2m.announced import Renewed, grace
from adapters.lwm2m.exchange import Peer
from adapters.lwm2m.mids import Mids
from adapters.lwm2m.observe import Observed
from adapters.lwm2m.slots import Slots
from hub.ports.adapter import Busy, Delivery, NotConnected
from hub.ports.clock import Clock

_NONE: Mapping[str, Observed] = MappingProxyType({})


class Terms(NamedTuple):
    """What was agreed on with a device: when it expires, its lifetime in seconds, whether it sleeps, its root."""

    expires: float
    lifetime: int
    queue: bool
    root: tuple[str, ...]

    def renewed(self, said: Renewed, now: float) -> Terms:
        """The terms after an Update at `now`."""
        lifetime = self.lifetime if said.lifetime is None else said.lifetime
        return Terms(
            now + lifetime + grace(lifetime), lifetime, self.queue if said.queue is None else said.queue,
            self.root if said.offer is None else said.offer.root or self.root,
        )


class Registration:
    """A device from its Register to its end. Times are monotonic.

    `held` keeps calls away until the device has the answer to its Register or Update: many clients take no request
    before. `asked` notes that the hub asked for a slot meanwhile and is to be told when there is one. `displaced` is a
    device from whose place another one was heard: nothing may be sent there for it until it says where it is.
    """

    __slots__ = (
        "address", "alive", "asked", "asleep", "displaced", "endpoint", "expires", "expiry", "heard", "held",
        "identity", "lifetime", "location", "mids", "nap", "observations", "peer", "queue", "root", "slots", "version",
    )

    def __init__(
        self, endpoint: str, address: str, location: str, peer: Peer, identity: str | None, inflight: int,
        now: datetime,
    ) -> None:
        self.endpoint = endpoint
        self.address = address
        self.location = location
        self.peer = peer
        self.identity = identity
        self.lifetime = 86400
        self.version = "1.0"
        self.queue = False
        self.root: tuple[str, ...] = ()
        self.expires = 0.0
        self.heard = 0.0
        self.asleep = False
        self.displaced = False
        self.held = False
        self.asked = False
        self.alive = True
        self.expiry = self.nap = 0  # the places in the wheels
        self.observations: Mapping[str, Observed] | dict[str, Observed] = _NONE
        self.slots = Slots(inflight)
        self.mids = Mids(now)

    @property
    def free(self) -> int:
        """How many more requests it takes now, if it is awake."""
        return 0 if self.held else self.slots.free

    def next_mid(self, clock: Clock, delivery: Delivery = Delivery.NOT_SENT) -> int:
        """The id of the next message to the device; `delivery` is what is known of those before it. Raises Busy when
        it got too many of late, NotConnected when it is not where it was."""
        if self.displaced:
            raise NotConnected("another device is where it was", delivery=delivery)
        return self.mids.next(clock, delivery)

    @property
    def terms(self) -> Terms:
        """What an Update changes, as one value."""
        return Terms(self.expires, self.lifetime, self.queue, self.root)

    @terms.setter
    def terms(self, terms: Terms) -> None:
        self.expires, self.lifetime, self.queue, self.root = terms

    async def turn(self, clock: Clock, until: float) -> None:
        """Take a slot as soon as there is one. Raises Busy (NOT_SENT) at `until`, and when the registration ends;
        NotConnected (NOT_SENT) while the device cannot be reached."""
        while self.alive and not self.asleep and (self.held or self.slots.open >= self.slots.most):
            if clock.monotonic() >= until:
                raise Busy("the device works on a call", delivery=Delivery.NOT_SENT)
            await self.slots.wait(clock, until)
        if self.alive and not self.asleep:
            self.slots.open += 1
        if self.slots.open < self.slots.most:
            self.slots.wake()
        if not self.alive:
            raise Busy("the registration ended", delivery=Delivery.NOT_SENT)
        self.reachable()

    def reachable(self) -> None:
        """Raise NotConnected (NOT_SENT) while the device cannot be reached."""
        if self.asleep:
            raise NotConnected("the device is not there", delivery=Delivery.NOT_SENT)

    def done(self) -> None:
        """Give a slot back."""
        self.slots.done()

    def end(self) -> None:
        """It is over: nobody waits for it any more, its observations run no longer."""
        self.alive = False
        for observed in self.observations.values():
            observed.active = False
        self.slots.wake_all()

    def revive(self, active: Mapping[str, bool]) -> None:
        """It is not over after all; `active` says of each observation, by target, whether it ran."""
        self.alive = True
        for target, observed in self.observations.items():
            observed.active = active.get(target, False)

    def watch(self, observed: Observed) -> None:
        """Keep an observation, by its target."""
        if not isinstance(self.observations, dict):
            self.observations = {}
        self.observations[observed.spec.target] = observed

    def unwatch(self, observed: Observed) -> bool:
        """Keep it no longer; whether it was kept."""
        if self.observations.get(observed.spec.target) is not observed or not isinstance(self.observations, dict):
            return False
        del self.observations[observed.spec.target]
        if not self.observations:
            self.observations = _NONE
        return True
