"""What an application has taken back of its subscriptions while values of it waited: these are told no more. Pure.

Each entry is a resource, or a whole device, with the place up to which its values are left out. Entries go as the
application's reader passes them; beyond a limit the oldest go.
"""

from __future__ import annotations

from collections.abc import Iterable

from hub.model.event import Event, Position

MOST = 65_536

Resource = tuple[str, str | None]
"""A device and a path of it; without a path the whole device."""


class Withdrawn:
    """One application's. `taken` counts how often something was taken back."""

    __slots__ = ("_upto", "taken")

    def __init__(self) -> None:
        # Oldest first, so that what a reader has passed stands in front.
        self._upto: dict[Resource, Position] = {}
        self.taken = 0

    def __len__(self) -> int:
        return len(self._upto)

    def take(self, resources: Iterable[Resource], upto: Position) -> None:
        """Values of these up to here are told no more."""
        self.taken += 1
        newest = next(reversed(self._upto.values()), upto)
        for resource in resources:
            self._upto.pop(resource, None)
            self._upto[resource] = upto
        if newest.offset > upto.offset:
            self._upto = dict(sorted(self._upto.items(), key=lambda entry: entry[1].offset))
        while len(self._upto) > MOST:
            del self._upto[next(iter(self._upto))]

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
        while self._upto:
            resource, upto = next(iter(self._upto.items()))
            if upto.epoch == position.epoch and upto.offset > position.offset:
                return
            del self._upto[resource]
