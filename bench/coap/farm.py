"""Devices on a socket each, in the generator's process: they register, and answer every read with the same value.

Written in bytes and not with the adapter's own parts, so that a mistake there is not made twice.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque

from bench.listener import Refused

HOST = "127.0.0.1"
PATH = "/3303/0/5700"
VALUE = b"21.5"
AT_ONCE = 100
_CREATED = 0x41
_WITHIN = 120.0


class Farm:
    """So many devices, called `bench-0` and so on, of the server at a UDP port."""

    def __init__(self, devices: int, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._waiting: deque[tuple[socket.socket, bytes]] = deque()
        self._due = 0
        self._registered = asyncio.Event()
        self._hub = (HOST, port)
        for _ in range(devices):
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((HOST, 0))
            made.setblocking(False)
            self._loop.add_reader(made.fileno(), self._heard, made)
            self._sockets.append(made)

    @property
    def ports(self) -> list[int]:
        """Where the devices are, in their order."""
        return [made.getsockname()[1] for made in self._sockets]

    async def register(self, first: int, end: int) -> None:
        """Register the devices from `first` to before `end`, a hundred at once. Raises Refused for one not taken."""
        self._due = end - first
        self._registered.clear()
        self._waiting.extend((self._sockets[n], _register(f"bench-{n}", n)) for n in range(first, end))
        for _ in range(AT_ONCE):
            self._next()
        try:
            async with asyncio.timeout(_WITHIN):
                await self._registered.wait()
        except TimeoutError:
            raise Refused(f"{self._due} of {end - first} registrations were not answered 2.01") from None

    def close(self) -> None:
        """Let go of all sockets."""
        for made in self._sockets:
            self._loop.remove_reader(made.fileno())
            made.close()

    def _next(self) -> None:
        if self._waiting:
            made, data = self._waiting.popleft()
            made.sendto(data, self._hub)

    def _heard(self, made: socket.socket) -> None:
        data, sender = made.recvfrom(2048)
        length = data[0] & 15
        if 0 < data[1] < 32:
            head = bytes((0x60 | length, 0x45)) + data[2 : 4 + length]
            made.sendto(head + b"\xc0\xff" + VALUE, sender)
        elif data[1] == _CREATED:
            self._due -= 1
            self._next()
            if self._due == 0:
                self._registered.set()


def _register(name: str, number: int) -> bytes:
    pieces = [b"ep=" + name.encode(), b"lt=86400", b"lwm2m=1.1", b"b=U"]
    out = bytes((0x42, 2)) + number.to_bytes(2, "big") + number.to_bytes(2, "big") + b"\xb2rd\x11\x28"
    for n, piece in enumerate(pieces):
        head = (3 if n == 0 else 0) << 4
        out += (bytes((head | len(piece),)) if len(piece) < 13 else bytes((head | 13, len(piece) - 13))) + piece
    return out + b'\xff</>;rt="oma.lwm2m",</1/0>,</3/0>,</3303/0>'
