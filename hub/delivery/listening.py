"""What listening needs of the hub, as one value: streams, polls and a dialect's own sockets are given it."""

from __future__ import annotations

from collections.abc import Callable

from hub.core.channels import Channels
from hub.core.limits import Limits
from hub.core.stats import Stats
from hub.delivery.durable_names import DurableNames
from hub.delivery.lane import Lanes
from hub.delivery.openings import Openings
from hub.delivery.seats import Seats
from hub.ports.clock import Clock
from hub.ports.engine import ChannelLog


class Listening:
    """The listeners' side of the hub. `watch` is `Access.watch`: it tells when a key is revoked. `stats` are those that
    operators read."""

    def __init__(
        self,
        channels: Channels,
        log: ChannelLog,
        limits: Limits,
        clock: Clock,
        watch: Callable[[str, Callable[[], None]], Callable[[], None]],
        stats: Stats | None = None,
    ) -> None:
        self.stats = stats or Stats()
        self.channels = channels
        self.log = log
        self.limits = limits
        self.clock = clock
        self.lanes = Lanes(self.stats)
        self.seats = Seats()
        self.names = DurableNames(log, self.seats, limits, clock)
        self.openings = Openings(limits, clock, watch)
