"""Who is where: which registration the messages from an address and port belong to.

A place is one device's, the one that was heard there last, unless the settings say that devices share their places.
"""

from __future__ import annotations

from collections.abc import Callable

from adapters.lwm2m.exchange import Peer
from adapters.lwm2m.registration import Registration


class Places:
    """The places of live registrations. `taken_over` is told of one that lost its place to another, when it has."""

    def __init__(self, shared: bool, taken_over: Callable[[Registration], None]) -> None:
        self._shared = shared
        self._taken_over = taken_over
        self._latest: dict[Peer, Registration] = {}
        self._several: dict[Peer, dict[Registration, None]] = {}

    def latest(self, peer: Peer) -> Registration | None:
        """The registration that was last there by its own word."""
        return self._latest.get(peer)

    def several(self, peer: Peer) -> bool:
        """Whether more than one registration is there now."""
        return peer in self._several

    def settle(self, registration: Registration) -> None:
        """It is at its peer from now on. Those who share a place share its message ids."""
        before = self._latest.get(registration.peer)
        self._latest[registration.peer] = registration
        registration.displaced = False
        if before is None or before is registration:
            return
        if self._shared:
            group = self._several.setdefault(registration.peer, {before: None})
            group[registration] = None
            registration.mids = before.mids
        else:
            before.displaced = True
            self._taken_over(before)

    def leave(self, registration: Registration) -> None:
        """It is at its peer no longer: who is still there is heard there."""
        peer = registration.peer
        group = self._several.get(peer)
        if group is not None and registration in group:
            del group[registration]
            if len(group) == 1:
                del self._several[peer]
            if self._latest[peer] is registration:
                self._latest[peer] = next(reversed(group))
        elif self._latest.get(peer) is registration:
            del self._latest[peer]
