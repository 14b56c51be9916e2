"""The UDP socket: bytes in and out, in bursts that leave the event loop its breath.

One socket serves and sends, so that a device sees one address. What the network says of one peer (an ICMP error, no
route) harms no other.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol

from adapters.lwm2m.exchange import Peer
from hub.model.errors import CannotListen

BURST = 64
MOST_QUEUED = 8192
_LARGEST = 65_535

log = logging.getLogger("hub.adapter.lwm2m")


class Endpoint(Protocol):
    """A way to devices. `dropped` counts what could not be sent; datagrams may be lost, nobody waits for them."""

    dropped: int

    @property
    def port(self) -> int: ...

    def open(self, hear: Callable[[bytes, Peer], None]) -> None:
        """Begin to hear. Raises CannotListen when that cannot be."""
        ...

    def send(self, data: bytes, peer: Peer) -> None:
        """Send a datagram soon, or drop it."""
        ...

    def close(self) -> None:
        """Neither hear nor send any more."""
        ...


class UdpEndpoint:
    """A socket of its own on the running loop: at most 64 datagrams in and 64 out per turn of the loop."""

    def __init__(self, host: str, port: int, next_ports: int = 0, receive_buffer: int = 4 * 1024 * 1024) -> None:
        self._host = host
        self._port = port
        self._next_ports = next_ports
        self._receive_buffer = receive_buffer
        self._socket: socket.socket | None = None
        self._queue: deque[tuple[bytes, Peer]] = deque()
        self._left = 0
        self._turn_is_set = False
        self._writer_is_set = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hear: Callable[[bytes, Peer], None] | None = None
        self.dropped = 0
        self.granted = 0

    @property
    def port(self) -> int:
        """The port that is open; 0 while none is."""
        return 0 if self._socket is None else int(self._socket.getsockname()[1])

    def open(self, hear: Callable[[bytes, Peer], None]) -> None:
        """Bind and begin to hear. Raises CannotListen when no port of those that may be tried is free."""
        made = self._bind()
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        # The kernel tells twice what it was asked for, because it counts its own book-keeping too.
        self.granted = made.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        word = log.warning if self.granted < self._receive_buffer else log.info
        word("receive buffer: %d bytes of %d granted (net.core.rmem_max)", self.granted, self._receive_buffer)
        self._socket, self._hear = made, hear
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(made.fileno(), self._readable)

    def send(self, data: bytes, peer: Peer) -> None:
        """Send now while the burst of this turn lasts, else in one of the next turns."""
        if self._socket is None:
            return
        if not self._turn_is_set:
            self._begin_turn()
        if self._queue or self._left <= 0:
            if len(self._queue) >= MOST_QUEUED:
                self.dropped += 1
            else:
                self._queue.append((data, peer))
            return
        self._left -= 1
        self._out(data, peer)

    def close(self) -> None:
        """Let go of the socket and of what waits to be sent."""
        made, self._socket = self._socket, None
        self._queue.clear()
        if made is not None and self._loop is not None:
            self._loop.remove_reader(made.fileno())
            if self._writer_is_set:
                self._loop.remove_writer(made.fileno())
                self._writer_is_set = False
            made.close()

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        last = self._port if self._port == 0 else self._port + self._next_ports
        for port in range(self._port, last + 1):
            made = socket.socket(family, socket.SOCK_DGRAM)
            try:
                if family == socket.AF_INET6:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                made.bind((self._host, port))
                return made
            except OSError as error:
                made.close()
                if error.errno != errno.EADDRINUSE or port == last:
                    raise CannotListen(f"cannot listen on {self._host} UDP port {port}: {error.strerror}") from error
        raise AssertionError("unreachable")

    def _begin_turn(self) -> None:
        assert self._loop is not None
        self._turn_is_set = True
        self._left = BURST
        self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """A new turn of the loop: a new burst, what waits first."""
        self._turn_is_set = False
        if self._queue and self._socket is not None and not self._writer_is_set:
            self._begin_turn()
            while self._queue and self._left > 0:
                self._left -= 1
                data, peer = self._queue.popleft()
                if not self._out(data, peer):
                    break

    def _out(self, data: bytes, peer: Peer) -> bool:
        assert self._socket is not None
        try:
            self._socket.sendto(data, peer)
        except BlockingIOError:
            self._queue.appendleft((data, peer))
            self._wait_for_room()
            return False
        except OSError as error:
            # One peer's unreachable network is that peer's: its request is repeated or times out.
            self.dropped += 1
            log.debug("a datagram could not be sent: %s", error.strerror)
        return True

    def _wait_for_room(self) -> None:
        if not self._writer_is_set and self._socket is not None and self._loop is not None:
            self._writer_is_set = True
            self._left = 0
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        if self._socket is not None and self._loop is not None:
            self._loop.remove_writer(self._socket.fileno())
        self._writer_is_set = False
        if not self._turn_is_set:
            self._begin_turn()

    def _readable(self) -> None:
        for _ in range(BURST):
            made, hear = self._socket, self._hear
            if made is None or hear is None:
                return
            try:
                data, peer = made.recvfrom(_LARGEST)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # ICMP errors of earlier datagrams surface here; they say nothing of those that wait to be read.
                log.debug("receiving: %s", error.strerror)
                continue
            hear(data, peer)
