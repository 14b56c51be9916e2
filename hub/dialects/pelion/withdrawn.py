"""What an application has taken back of its subscriptions while values of it waited: these are told no more. Pure.

Each entry is a resource, or a whole device, with the place up to which its values are left out. Entries go as the
application's reader passes them; beyond a limit the oldest go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from hub.model.event import Event, Position

MOST = 65_536

Resource = tuple[str, str | None]
"""A device and a path of it; without a path the whole device."""


class Withdrawn:
    """One application's. `taken` counts how often something was taken back."""

    __slots__ = ("_upto", "taken")

    def __init__(self) -> None:
        # Oldest first, so that what a reader has passed stands in front. Of one life of the channel only.
        self._upto: OrderedDict[Resource, Position] = OrderedDict()
        self.taken = 0

    def __len__(self) -> int:
        return len(self._upto)

    def take(self, resources: Sequence[Resource], upto: Position) -> None:
        """Values of these up to here are told no more."""
        self.taken += 1
        newest = self._newest()
        if newest is not None and newest.epoch != upto.epoch:
            self._upto.clear()
        for resource in resources[-MOST:]:
            self._upto[resource] = upto
            self._upto.move_to_end(resource)
        if newest is not None and newest.epoch == upto.epoch and newest.offset > upto.offset:
            self._upto = OrderedDict(sorted(self._upto.items(), key=lambda entry: entry[1].offset))
        while len(self._upto) > MOST:
            self._upto.popitem(last=False)

    def hides(self, event: Event) -> bool:
        """Whether a value was taken back before it was told."""
        if not self._upto:
            return False
        device = event.body["device"]
        return any(
            upto is not None and upto.epoch == event.epoch and event.offset <= upto.offset
            for upto in (self._upto.get((device, event.body["path"])), self._upto.get((device, None)))
        )

    def passed(self, position: Position) -> None:
        """The reader has everything up to here: what was taken back before is no matter any more."""
        newest = self._newest()
        if newest is None or newest.epoch != position.epoch or newest.offset <= position.offset:
            self._upto.clear()
            return
        while next(iter(self._upto.values())).offset <= position.offset:
            self._upto.popitem(last=False)

    def _newest(self) -> Position | None:
        return next(reversed(self._upto.values()), None)
