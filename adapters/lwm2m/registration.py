"""One registered device: where it is, how long, whether it sleeps, how many requests it works on.

Ten thousand of these stand in memory, so they have slots and share what can be shared.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from adapters.lwm2m.announced import Renewed, grace
from adapters.lwm2m.exchange import EXCHANGE_LIFETIME, Peer
from adapters.lwm2m.observe import Observed
from hub.ports.adapter import Busy, Delivery
from hub.ports.clock import Clock

# Half of all message ids per lifetime of an exchange: so none comes again within one, wherever the window lies.
MIDS_PER_LIFETIME = 1 << 15
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
    before. `asked` notes that the hub asked for a slot meanwhile and is to be told when there is one.
    """

    __slots__ = (
        "_beside", "_mid", "_mid_since", "_mid_used", "_waiting", "address", "alive", "asked", "asleep", "endpoint",
        "expires", "expiry", "heard", "held", "identity", "inflight", "lifetime", "location", "nap", "observations",
        "open", "peer", "queue", "root", "version",
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
        self.inflight = inflight
        self.lifetime = 86400
        self.version = "1.0"
        self.queue = False
        self.root: tuple[str, ...] = ()
        self.expires = 0.0
        self.heard = 0.0
        self.asleep = False
        self.held = False
        self.asked = False
        self.alive = True
        self.expiry = self.nap = 0  # the places in the wheels
        self.open = 0
        self.observations: Mapping[str, Observed] | dict[str, Observed] = _NONE
        self._waiting: deque[asyncio.Future[None]] | None = None
        # Message ids begin where the wall clock says: after a restart that is ahead of what was used before it, as
        # long as a device gets less than 200 messages a second, and no id comes again within 247 s.
        self._mid = int(now.timestamp() * 200) & 0xFFFF
        self._mid_since = 0.0
        self._mid_used = 0
        self._beside: Registration | None = None

    @property
    def free(self) -> int:
        """How many more requests it takes now, if it is awake."""
        return 0 if self.held or self._waiting else self.inflight - self.open

    def next_mid(self, now: float) -> int:
        """The id of the next message to the device. Raises Busy (NOT_SENT) when it got too many of late."""
        if self._beside is not None:
            return self._beside.next_mid(now)
        if now - self._mid_since >= EXCHANGE_LIFETIME:
            self._mid_since, self._mid_used = now, 0
        if self._mid_used >= MIDS_PER_LIFETIME:
            wait = self._mid_since + EXCHANGE_LIFETIME - now
            raise Busy("the device had too many messages", delivery=Delivery.NOT_SENT, retry_after=wait)
        self._mid_used += 1
        self._mid = (self._mid + 1) & 0xFFFF
        return self._mid

    @property
    def terms(self) -> Terms:
        """What an Update changes, as one value."""
        return Terms(self.expires, self.lifetime, self.queue, self.root)

    @terms.setter
    def terms(self, terms: Terms) -> None:
        self.expires, self.lifetime, self.queue, self.root = terms

    @property
    def mids(self) -> tuple[int, float, int]:
        """Which message ids were used of late, for the next registration of the device: it may be the same run."""
        return (self._mid, self._mid_since, self._mid_used) if self._beside is None else self._beside.mids

    @mids.setter
    def mids(self, used: tuple[int, float, int]) -> None:
        self._mid, self._mid_since, self._mid_used = used

    def stand_beside(self, other: Registration) -> None:
        """Share the place of another one, and so its message ids: whoever is there knows one row of them only."""
        if self.beside is not other.beside:
            self._beside = other.beside

    @property
    def beside(self) -> Registration:
        """The one whose message ids it uses, itself if it shares its place with nobody."""
        root = self
        while root._beside is not None:
            root = root._beside
        return root

    async def turn(self, clock: Clock, until: float) -> None:
        """Take a slot as soon as there is one. Raises Busy (NOT_SENT) at `until`, and when the registration ends."""
        while self.alive and (self.held or self.open >= self.inflight):
            if clock.monotonic() >= until:
                raise Busy("the device works on a call", delivery=Delivery.NOT_SENT)
            waiting = self._waiting = self._waiting if self._waiting is not None else deque()
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.append(future)
            timer = clock.call_at(until, _resolve, future)
            woken = False
            try:
                await future
                woken = True
            finally:
                timer.cancel()
                if future in waiting:
                    waiting.remove(future)
                if not waiting:
                    self._waiting = None
                if not woken:
                    self.wake()  # it may have been our turn when we were cancelled: it is the next one's
        if not self.alive:
            raise Busy("the registration ended", delivery=Delivery.NOT_SENT)
        self.open += 1

    def done(self) -> None:
        """Give a slot back."""
        self.open -= 1
        self.wake()

    def wake(self) -> None:
        """Let the next in line look again."""
        if self._waiting:
            _resolve(self._waiting[0])

    def end(self) -> None:
        """It is over: nobody waits for it any more, its observations run no longer."""
        self.alive = False
        for observed in self.observations.values():
            observed.active = False
        for future in list(self._waiting or ()):
            _resolve(future)

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


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
