"""A network in memory for the rig: datagrams that are lost, doubled, late and out of order, as a seed decides.

Time is the clock that is handed in, so a lossy hour passes in a blink; with no switch set every datagram arrives, in
order, in the next turn of the loop.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from adapters.lwm2m.exchange import Peer
from hub.ports.clock import Clock


class Net:
    """Carries datagrams between ends. `loss` and `doubling` are shares, `delay` (on `clock`) the most seconds
    on the way."""

    def __init__(self, clock: Clock | None = None, seed: int = 0) -> None:
        self.clock = clock
        self.random = random.Random(seed)
        self.loss = 0.0
        self.doubling = 0.0
        self.delay = 0.0
        self.lost = 0
        self._ends: dict[Peer, MemoryEndpoint] = {}
        self._last_port = 40_000

    def attach(self, end: MemoryEndpoint, port: int) -> Peer:
        """Give an end its address: the port asked for, or the next one."""
        if not port:
            self._last_port += 1
            port = self._last_port
        address = ("192.0.2.1", port)
        if address in self._ends:
            raise OSError(98, f"UDP port {port}: in use")
        self._ends[address] = end
        return address

    def detach(self, address: Peer) -> None:
        """Nobody is there any more; what is on the way to it is lost."""
        self._ends.pop(address, None)

    def carry(self, data: bytes, sender: Peer, receiver: Peer) -> None:
        """One datagram, whatever becomes of it."""
        for _ in range(2 if self.random.random() < self.doubling else 1):
            if self.random.random() < self.loss:
                self.lost += 1
                continue
            if self.delay:
                assert self.clock is not None, "a delay needs a clock"
                when = self.clock.monotonic() + self.random.random() * self.delay
                self.clock.call_at(when, self._arrive, data, sender, receiver)
            else:
                asyncio.get_running_loop().call_soon(self._arrive, data, sender, receiver)

    def _arrive(self, data: bytes, sender: Peer, receiver: Peer) -> None:
        end = self._ends.get(receiver)
        if end is not None and end.hear is not None:
            end.hear(data, sender)


class MemoryEndpoint:
    """An end of a Net in the place of a UDP socket."""

    def __init__(self, net: Net, port: int = 0) -> None:
        self._net = net
        self._port = port
        self.address: Peer = ()
        self.hear: Callable[[bytes, Peer], None] | None = None
        self.dropped = 0

    @property
    def port(self) -> int:
        """The port while it is open, else 0."""
        return int(self.address[1]) if self.address else 0

    def open(self, hear: Callable[[bytes, Peer], None]) -> None:
        """Begin to hear. Raises OSError for a port in use."""
        self.address = self._net.attach(self, self._port)
        self.hear = hear

    def send(self, data: bytes, peer: Peer) -> None:
        """Give a datagram to the net."""
        if self.address:
            self._net.carry(data, self.address, peer)

    def close(self) -> None:
        """Be gone."""
        if self.address:
            self._net.detach(self.address)
        self.address, self.hear = (), None
