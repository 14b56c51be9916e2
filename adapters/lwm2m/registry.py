"""All registrations, found by device, by location and by where they are. Memory only; what outlives the process is
memory.py."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

from adapters.lwm2m.exchange import Peer
from adapters.lwm2m.observe import Observed
from adapters.lwm2m.places import Places
from adapters.lwm2m.registration import Registration


class Registry:
    """The live registrations and their observations. A device has at most one. `shared` and `taken_over` are those of
    `Places`."""

    def __init__(self, taken_over: Callable[[Registration], None], *, shared: bool = False) -> None:
        self._places = Places(shared, taken_over)
        self._by_address: dict[str, Registration] = {}
        self._by_location: dict[str, Registration] = {}
        self._by_identity: dict[str, Registration] = {}
        self._watched: dict[bytes, tuple[Registration, Observed]] = {}

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[Registration]:
        return iter(list(self._by_address.values()))

    def at(self, address: str) -> Registration | None:
        """The registration of a device."""
        return self._by_address.get(address)

    def located(self, location: str) -> Registration | None:
        """The registration of a location."""
        return self._by_location.get(location)

    def from_peer(self, peer: Peer) -> Registration | None:
        """The registration that messages from there belong to: the latest one made from there."""
        return self._places.latest(peer)

    def several_at(self, peer: Peer) -> bool:
        """Whether messages from there may be those of several registrations."""
        return self._places.several(peer)

    def of_identity(self, identity: str) -> Registration | None:
        """The registration of whoever proved to be this, wherever he is now."""
        return self._by_identity.get(identity)

    def new_location(self) -> str:
        """A location that nobody has and nobody can guess."""
        return secrets.token_urlsafe(8)

    def add(self, registration: Registration) -> None:
        """Put one in, at its place unless it lost that; an older one of the device goes, with its observations."""
        older = self._by_address.get(registration.address)
        if older is not None:
            self.remove(older)
        self._by_address[registration.address] = registration
        self._by_location[registration.location] = registration
        if not registration.displaced:
            self._places.settle(registration)
        if registration.identity is not None:
            self._by_identity[registration.identity] = registration
        for observed in registration.observations.values():
            self._watched[observed.token] = (registration, observed)

    def remove(self, registration: Registration) -> bool:
        """Take one out and end it; False if it had gone."""
        if self._by_location.pop(registration.location, None) is not registration:
            return False
        if self._by_address.get(registration.address) is registration:
            del self._by_address[registration.address]
        self._places.leave(registration)
        if registration.identity is not None and self._by_identity.get(registration.identity) is registration:
            del self._by_identity[registration.identity]
        for observed in registration.observations.values():
            self._watched.pop(observed.token, None)
        registration.end()
        return True

    def move(self, registration: Registration, peer: Peer) -> None:
        """The device is there now, by its own word."""
        self._places.leave(registration)
        registration.peer = peer
        self._places.settle(registration)

    def watched(self, token: bytes) -> tuple[Registration, Observed] | None:
        """The observation that a token belongs to."""
        return self._watched.get(token)

    def watch(self, registration: Registration, observed: Observed) -> None:
        """Know an observation from now on."""
        registration.watch(observed)
        self._watched[observed.token] = (registration, observed)

    def unwatch(self, registration: Registration, observed: Observed) -> bool:
        """Know it no longer; whether it was known."""
        known = registration.unwatch(observed)
        if known:
            self._watched.pop(observed.token, None)
        return known

    def clear(self) -> None:
        """Forget everything, ending nothing on the devices."""
        for registration in self:
            self.remove(registration)
