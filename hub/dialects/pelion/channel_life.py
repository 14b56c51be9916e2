"""What is known of an application's notification channel while the hub runs; a restart finds it again from the record.

Times are monotonic: a step of the wall clock ends no channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import anyio

from hub.core.channels import Channel
from hub.delivery.openings import Opening
from hub.delivery.shown import Shown
from hub.delivery.view import View
from hub.dialects.pelion.channel_backlog import Backlog, weigh
from hub.dialects.pelion.withdrawn import Withdrawn
from hub.model.event import Event, Position
from hub.ports.clock import Clock

_SECOND = timedelta(seconds=1)


class Turn:
    """One poll's stay. `answering`: it has found what to say; `over` is set when the next poll may come."""

    __slots__ = ("answering", "over")

    def __init__(self) -> None:
        self.answering = False
        self.over = anyio.Event()


class Life:
    """One application. `seen`: when somebody was last there to take; `active`: when the last event came, None while
    that is not known; `position`: where the reader stands, None until it was looked up. `turn` is the open poll's,
    whatever it is told; `polling` says that it keeps the channel."""

    __slots__ = (
        "_clock",
        "_cool_until",
        "_unfollow",
        "active",
        "backlog",
        "deleted_at",
        "followed",
        "lock",
        "openings",
        "polling",
        "position",
        "seen",
        "shown",
        "turn",
        "withdrawn",
    )

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._cool_until = 0.0
        self._unfollow: Callable[[], None] | None = None
        self.lock = anyio.Lock()
        self.openings: set[Opening] = set()
        self.shown: set[Shown] = set()
        self.turn: Turn | None = None
        self.polling = False
        self.seen: float | None = None
        self.active: float | None = None
        self.position: Position | None = None
        self.deleted_at = Position("", 0)
        self.backlog: Backlog | None = None
        self.followed: Channel | None = None
        self.withdrawn = Withdrawn()

    # The second after a DELETE.

    @property
    def cooling(self) -> bool:
        """Whether it is the second after a DELETE."""
        return self._clock.monotonic() < self._cool_until

    @property
    def cool_until(self) -> float:
        """When that second is over (monotonic)."""
        return self._cool_until

    def cool(self, time: timedelta) -> None:
        """A DELETE came now."""
        self._cool_until = self._clock.monotonic() + time / _SECOND

    # Who is there.

    def end(self, code: int, reason: str) -> None:
        """Tell every socket and poll to go."""
        for opening in tuple(self.openings):
            opening.end(code, reason)

    def end_polls(self, code: int, reason: str) -> None:
        """Tell the open poll to go."""
        for opening in tuple(self.openings):
            if opening.poll:
                opening.end(code, reason)

    @contextmanager
    def showing(self, shown: Shown) -> Iterator[None]:
        """A socket shows this within the block."""
        self.shown.add(shown)
        try:
            yield
        finally:
            self.shown.discard(shown)

    def show(self, view: View) -> None:
        """Every open socket shows what comes from now on in this view."""
        for shown in tuple(self.shown):
            shown.change(view)

    # What waits.

    @property
    def lost(self) -> int:
        """The offset up to which events were given up for want of room, 0 for none."""
        return 0 if self.backlog is None else self.backlog.lost

    def begin(self, position: Position) -> None:
        """A channel was made that begins at this position."""
        self.unfollow()
        self.position = position
        self.withdrawn.passed(position)
        self.active = self._clock.monotonic()

    def finish(self, position: Position) -> None:
        """The channel was removed; the next one begins at this position, or later."""
        self.unfollow()
        self.position = position
        self.withdrawn.passed(position)
        self.active = None

    def moved(self, position: Position) -> None:
        """The reader has everything up to here; it never goes back within one life of the channel."""
        before = self.position
        if before is None or before.epoch != position.epoch or before.offset < position.offset:
            self.position = position
            self.withdrawn.passed(position)
        if self.backlog is not None:
            self.backlog.moved(position.offset)

    def follow(self, channel: Channel, backlog: Backlog, active: float) -> None:
        """Weigh what comes from now on. `backlog` holds what waits already, `active` tells of the newest of it."""
        self.unfollow()
        self.backlog, self.followed = backlog, channel
        self.active = active if self.active is None else max(self.active, active)
        self._unfollow = channel.follow(self._came)

    def unfollow(self) -> None:
        """Weigh nothing more."""
        if self._unfollow is not None:
            self._unfollow()
        self._unfollow = self.backlog = self.followed = None

    def _came(self, events: Sequence[Event]) -> None:
        self.active = self._clock.monotonic()
        if self.backlog is not None:
            for event in events:
                self.backlog.add(event.offset, weigh(event))
