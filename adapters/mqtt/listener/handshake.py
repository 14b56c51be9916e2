"""A socket of the TLS port until its handshake is over: it has a place at the door from the moment it is accepted."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from typing import TYPE_CHECKING, Protocol, cast

from adapters.mqtt.listener.codec import Connect
from adapters.mqtt.listener.connection import Connection
from adapters.mqtt.listener.settings import MqttSettings
from hub.ports.adapter import AdapterContext

if TYPE_CHECKING:
    from adapters.mqtt.listener.session import Session

log = logging.getLogger("hub.adapter.mqtt")


class Door(Protocol):
    """Who accepted the socket."""

    settings: MqttSettings

    def opened(self, connection: Connection | Handshake) -> bool: ...
    async def greet(self, connection: Connection, hello: Connect) -> None: ...
    def ended(self, session: Session) -> None: ...
    def gone(self, connection: Connection | Handshake) -> None: ...


class Secured(Connection):
    """A connection whose handshake is over: it takes the place that the handshake had."""

    __slots__ = ("_handshake",)

    def __init__(self, door: Door, ctx: AdapterContext, handshake: Handshake) -> None:
        super().__init__(door, ctx)
        self._handshake = handshake

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The device speaks in private from here on."""
        self._handshake.leave()
        super().connection_made(transport)


class Handshake(asyncio.Protocol):
    """From the accepted socket to a connection that speaks in private, or to its end."""

    __slots__ = ("_again", "_ctx", "_door", "_task", "_tls")

    def __init__(self, door: Door, ctx: AdapterContext, tls: ssl.SSLContext) -> None:
        self._door = door
        self._ctx = ctx
        self._tls = tls
        self._again: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A socket was accepted. Nothing is read of it here: what comes is the handshake's."""
        plain = cast(asyncio.Transport, transport)
        if self._door.opened(self):
            # A loop that accepts for TLS says nothing before the handshake is over: so it does not accept for TLS, and
            # is given the socket once more, under another number.
            try:
                self._again = again = _once_more(plain.get_extra_info("socket"))
            except OSError as failure:
                log.warning("a device could not be let in: %s", failure)
            else:
                self._task = self._ctx.spawn(self._shake(again), name=f"{self._ctx.name}-handshake")
                self._task.add_done_callback(self._over)
        plain.abort()

    def connection_lost(self, _: Exception | None) -> None:
        """The accepted socket is given up; its place goes with it, unless the handshake has it."""
        if self._task is None:
            self._over(None)

    def leave(self) -> None:
        """Give the place back; harmless the second time."""
        self._door.gone(self)

    def close(self, why: str) -> None:
        """Send it away; nothing was said that could still go out."""
        self.abort(why)

    def abort(self, why: str = "the connection was cut") -> None:
        """End it at once."""
        if self._task is not None:
            self._task.cancel()

    def _over(self, _: asyncio.Task[None] | None) -> None:
        if self._again is not None:
            self._again.close()  # it was sent away before it began
        self.leave()

    async def _shake(self, again: socket.socket) -> None:
        self._again = None  # it is the loop's
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Secured(self._door, self._ctx, self), again, ssl=self._tls,
                ssl_handshake_timeout=self._door.settings.connect_time.total_seconds(),
            )  # fmt: skip
        except OSError as failure:
            log.debug("a TLS handshake failed: %s", failure)


def _once_more(accepted: socket.socket) -> socket.socket:
    """The socket under another number. Raises OSError when there is no number left."""
    number = os.dup(accepted.fileno())
    try:
        again = socket.socket(fileno=number)
    except OSError:
        os.close(number)
        raise
    again.setblocking(False)
    return again
