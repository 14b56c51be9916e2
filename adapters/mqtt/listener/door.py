"""The door: sockets with and without TLS, and from a CONNECT to an admitted device or to a refusal."""

from __future__ import annotations

import asyncio
import errno
import functools
import hashlib
import logging
import os
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from adapters.mqtt import topics, wire
from adapters.mqtt.listener import codec
from adapters.mqtt.listener.activations import Activations
from adapters.mqtt.listener.codec import Connect
from adapters.mqtt.listener.connection import Connection
from adapters.mqtt.listener.handshake import Handshake
from adapters.mqtt.listener.registration import Gone
from adapters.mqtt.listener.settings import MqttSettings
from adapters.mqtt.topics import Name
from hub.model.errors import CannotListen, HubError, TooMany, UnknownDevice
from hub.ports.abilities import WatchesKeys
from hub.ports.adapter import AdapterContext, Admission

if TYPE_CHECKING:
    from adapters.mqtt.listener.adapter import MqttAdapter
    from adapters.mqtt.listener.session import Session

BACKLOG = 1024
MOVES = 100
KEY_PREFIX = "ak_"
# How a server of 3.1.1 tells a client of MQTT 5 that it is too new (MQTT 5, 3.2.2.2).
_TOO_NEW = bytes((codec.CONNACK << 4, 3, 0, 0x84, 0))

log = logging.getLogger("hub.adapter.mqtt")


class Door:
    """The listening sockets of one adapter and the connections that came through them."""

    def __init__(self, adapter: MqttAdapter, settings: MqttSettings) -> None:
        self.settings = settings
        self.connections: set[Connection | Handshake] = set()
        self.refused = 0
        self.ports: dict[str, int] = {}
        self._adapter = adapter
        self._servers: list[asyncio.Server] = []
        self._ctx: AdapterContext | None = None
        self._nobody = asyncio.Event()
        self._activations = Activations(settings.activations, settings.activation_time.total_seconds())

    @property
    def full(self) -> bool:
        """Whether no further connection is taken."""
        return len(self.connections) >= self.settings.connections

    async def open(self, ctx: AdapterContext) -> None:
        """Listen. Raises CannotListen for a port that cannot be had and for a certificate that cannot be read."""
        self._ctx = ctx
        loop = asyncio.get_running_loop()
        tls: ssl.SSLContext | None = None
        if self.settings.tls_port >= 0:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.minimum_version = ssl.TLSVersion.TLSv1_2
            try:
                tls.load_cert_chain(self.settings.certificate, self.settings.key)
            except OSError as error:
                raise self._deaf("mqtts", self.settings.tls_port, f"certificate: {error.strerror or error}") from error
        wanted: list[tuple[str, int, Callable[[], asyncio.Protocol]]] = []
        if self.settings.port >= 0:
            wanted.append(("mqtt", self.settings.port, lambda: Connection(self, ctx)))
        if tls is not None:
            wanted.append(("mqtts", self.settings.tls_port, functools.partial(Handshake, self, ctx, tls)))
        try:
            for name, port, guest in wanted:
                server = await self._listen(loop, name, port, guest)
                self._servers.append(server)
                self.ports[name] = server.sockets[0].getsockname()[1]
        except CannotListen:
            self._unlisten()
            raise

    async def _listen(
        self, loop: asyncio.AbstractEventLoop, name: str, port: int, guest: Callable[[], asyncio.Protocol]
    ) -> asyncio.Server:
        last = port + MOVES if self.settings.move and port else port
        while True:
            try:
                return await loop.create_server(guest, self.settings.host, port, backlog=BACKLOG)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or port >= min(last, 65535):
                    # The loop's own words for it name the place once more.
                    why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
                    raise self._deaf(name, port, why) from error
                port += 1

    def _deaf(self, name: str, port: int, why: str | None) -> CannotListen:
        return CannotListen(f"cannot listen on {self.settings.host} port {port} ({name}): {why}")

    async def close(self, grace: float) -> None:
        """Send everybody away and wait until what they told is dealt with, at most for `grace`."""
        ctx, self._ctx = self._ctx, None
        self._unlisten()
        if ctx is None:
            return
        for connection in list(self.connections):
            connection.close("the hub stops")
        with anyio.CancelScope() as scope:
            limit = ctx.clock.call_at(ctx.clock.monotonic() + grace, scope.cancel)
            try:
                await self.empty()
            finally:
                limit.cancel()
        for connection in list(self.connections):
            connection.abort()

    def _unlisten(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def empty(self) -> None:
        """Return when no connection is left."""
        while self.connections:
            self._nobody.clear()
            await self._nobody.wait()

    # -- connections ----------------------------------------------------------------------------

    def opened(self, connection: Connection | Handshake) -> bool:
        """Count a connection in; False when there is no room for it."""
        if self._ctx is None or self.full:
            self.refused += 1
            return False
        self.connections.add(connection)
        return True

    def ended(self, session: Session) -> None:
        """Nothing is heard of a device any more, whatever becomes of its socket."""
        ctx = self._ctx
        session.unwatch()
        self._adapter.shed_session(session)
        if ctx is not None:
            left = self._adapter.left(session, list(session.routes.values()))
            ctx.spawn(left, name=f"{ctx.name}-left")
        else:
            self._adapter.abandon(session)

    def gone(self, connection: Connection | Handshake) -> None:
        """A connection is over, or a handshake: then its connection follows."""
        self.connections.discard(connection)
        if not self.connections:
            self._nobody.set()

    async def greet(self, connection: Connection, hello: Connect) -> None:
        """Answer a CONNECT."""
        ctx = self._ctx
        if ctx is None:
            connection.close("the hub stops")
            return
        if hello.level != codec.LEVEL:
            connection.send(_TOO_NEW if hello.level > codec.LEVEL else codec.encode(codec.ConnAck(codec.BAD_LEVEL)))
            connection.close("another version of MQTT")
            return
        try:
            name, verdict = await self._admit(ctx, hello)
        except HubError as failure:
            self._not_now(connection, failure)
            return
        if connection.ended:
            return
        if name is None or not isinstance(verdict, Admission):
            self.refused += 1
            connection.send(codec.encode(codec.ConnAck(codec.BAD_CREDENTIALS)))
            connection.close("not admitted")
            return
        longest = self.settings.keep_alive.total_seconds()
        keep_alive = min(float(hello.keep_alive), longest) if hello.keep_alive else longest
        session = self._adapter.session(connection, name, verdict)
        connection.session = session
        if verdict.grant is not None:
            if not self._activations.enter(ctx.clock, name, connection):
                self._not_now(connection, TooMany("too many devices of its product are being activated"))
                return
            session.unwatch = lambda: self._activations.leave(name, connection)
            if session.welcome():
                session.tell(name, topics.ACTIVATE, _activation(name, verdict), session=True)
                connection.serve(session, keep_alive)
            return
        if verdict.key_id is not None and isinstance(ctx, WatchesKeys):
            session.unwatch = ctx.watch_key(verdict.key_id, lambda: connection.close("its key was taken back"))
        try:
            await self._adapter.arrived(session, name, verdict, _boot(hello.client_id))
        except Gone:
            return
        except UnknownDevice:
            self.refused += 1
            connection.send(codec.encode(codec.ConnAck(codec.BAD_CREDENTIALS)))
            connection.close("the hub has no such device any more")
            return
        except HubError as failure:
            self._not_now(connection, failure)
            return
        if session.welcome():
            connection.serve(session, keep_alive)

    @staticmethod
    def _not_now(connection: Connection, failure: HubError) -> None:
        log.warning("a device could not be let in: %s", failure)
        connection.send(codec.encode(codec.ConnAck(codec.UNAVAILABLE)))
        connection.close("the hub could not take it in now")

    @staticmethod
    async def _admit(ctx: AdapterContext, hello: Connect) -> tuple[Name | None, object]:
        """Ask the hub who this is: by a signature, or by an API key in the password."""
        try:
            password = (hello.password or b"").decode()
        except UnicodeDecodeError:
            return None, None
        if password.startswith(KEY_PREFIX):
            device, _, product = (hello.username or "").partition("&")
            if not topics.is_key(product) or not topics.is_key(device):
                return None, None
            return (product, device), await ctx.admit("key", device, password)
        sign = wire.sign_in(hello.client_id, hello.username or "", password)
        if sign is None:
            return None, None
        return sign.device, await ctx.admit(sign.kind, sign.identity, sign.proof)


def _boot(client_id: str) -> str:
    # Devices of the vendor's SDK keep their client id, with its time, as long as they run.
    return hashlib.sha256(client_id.encode()).hexdigest()[:16]


def _activation(name: Name, admission: Admission) -> bytes:
    product, device = name
    params = {
        "assetId": admission.device_id, "productKey": product, "deviceKey": device, "deviceSecret": admission.grant,
    }
    return wire.request("1", topics.ACTIVATE, params)
