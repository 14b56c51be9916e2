"""DTLS with pre-shared keys (RFC 6347, 4279) between the socket and the rest; wants the extra `dtls`.

A peer behind DTLS is the word `dtls` and its socket address. Who it is, its session proved; before it returned a
cookie nothing is kept of it. A handshake on top of a session replaces that only when it has succeeded, so a forged
hello ends nothing.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

from mbedtls.exceptions import TLSError
from mbedtls.tls import (
    DTLSConfiguration,
    HandshakeStep,
    HelloVerifyRequest,
    ServerContext,
    TLSWrappedBuffer,
    WantReadError,
    WantWriteError,
    ciphers_available,
)

from adapters.lwm2m.endpoint import Endpoint
from adapters.lwm2m.exchange import Peer
from hub.ports.clock import Clock

DTLS = "dtls"
MOST_HANDSHAKES = 256
HANDSHAKE_TIME = 60.0
_HANDSHAKE = 22
_OVER: object = HandshakeStep.HANDSHAKE_OVER  # the library's stubs take its members for integers
_RECORD_HEAD = 13
_LARGEST = 16_384

log = logging.getLogger("hub.adapter.lwm2m")


class _Keys(Mapping[str, bytes]):
    """The keys as the library asks for them; `asked` is the identity of the last look-up that found one."""

    def __init__(self, psk: Callable[[str], bytes | None]) -> None:
        self._psk = psk
        self.asked: str | None = None

    def __getitem__(self, identity: str) -> bytes:
        key = self._psk(identity)
        if key is None:
            self.asked = None
            raise KeyError(identity)
        self.asked = identity
        return key

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 1  # an empty mapping would turn pre-shared keys off


class _Session:
    """One session, or one that becomes it."""

    __slots__ = ("buffer", "identity", "used")

    def __init__(self, buffer: TLSWrappedBuffer, now: float) -> None:
        self.buffer = buffer
        self.identity: str | None = None
        self.used = now

    def outgoing(self) -> bytes:
        """What waits to be sent."""
        data: bytes = self.buffer.peek_outgoing(_LARGEST * 4)
        self.buffer.consume_outgoing(len(data))
        return data


class DtlsEndpoint:
    """The secure port. `lost` is told of every peer whose session is over."""

    def __init__(
        self, under: Endpoint, clock: Clock, psk: Callable[[str], bytes | None], lost: Callable[[Peer], None],
        most_sessions: int, idle: timedelta,
    ) -> None:
        self._under = under
        self._clock = clock
        self._keys = _Keys(psk)
        self._lost = lost
        self._most = most_sessions
        self._idle = idle.total_seconds()
        self._context = ServerContext(
            DTLSConfiguration(
                pre_shared_key_store=self._keys,
                validate_certificates=False,
                ciphers=tuple(name for name in ciphers_available() if name.startswith("TLS-PSK")),
            )
        )
        self._cookie = secrets.token_bytes(16)
        self._sessions: OrderedDict[Peer, _Session] = OrderedDict()
        self._handshakes: OrderedDict[Peer, _Session] = OrderedDict()
        self._hear: Callable[[bytes, Peer], None] | None = None
        self.failures = 0

    @property
    def port(self) -> int:
        """The port that is open; 0 while none is."""
        return self._under.port

    @property
    def dropped(self) -> int:
        """Datagrams that could not be sent."""
        return self._under.dropped

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, hear: Callable[[bytes, Peer], None]) -> None:
        """Begin to let devices in. Raises CannotListen when the port cannot be had."""
        self._hear = hear
        self._under.open(self._datagram)

    def close(self) -> None:
        """Say goodbye to every session and close the port."""
        for peer, session in self._sessions.items():
            self._goodbye(session, peer)
        self._sessions.clear()
        self._handshakes.clear()
        self._under.close()

    def identity(self, peer: Peer) -> str | None:
        """Who has proved to be there."""
        session = self._sessions.get(peer)
        return None if session is None else session.identity

    def send(self, data: bytes, peer: Peer) -> None:
        """Send within the session with the peer; without one it is dropped, and the request times out."""
        session = self._sessions.get(peer)
        if session is None:
            return
        try:
            session.buffer.write(data)
        except (WantReadError, WantWriteError):
            pass  # it is in the outgoing buffer
        except TLSError as error:
            self._end(peer, error)
            return
        self._out(session, peer[1:])

    # -- what comes -----------------------------------------------------------------------------

    def _datagram(self, data: bytes, address: Peer) -> None:
        if len(data) < _RECORD_HEAD:
            return
        peer = (DTLS, *address)
        self._forget_idle()
        fresh = data[0] == _HANDSHAKE and data[3:5] == b"\0\0"
        session = self._sessions.get(peer)
        if fresh or (peer in self._handshakes and (session is None or data[0] != 23)):
            self._shake_hands(data, peer)
        elif session is not None:
            session.buffer.receive_from_network(data)
            self._read(session, peer)

    def _shake_hands(self, data: bytes, peer: Peer) -> None:
        now = self._clock.monotonic()
        session = self._handshakes.pop(peer, None)
        if session is None:
            if data[0] != _HANDSHAKE:
                return
            session = _Session(self._context.wrap_buffers(), now)
            session.buffer.setcookieparam(self._cookie + repr(peer).encode())
        session.buffer.receive_from_network(data)
        self._keys.asked = session.identity
        try:
            over = self._step(session, peer)
        except HelloVerifyRequest:
            # The cookie is on its way; the peer is believed, and kept, when it comes back with it.
            self._out(session, peer[1:])
            return
        except TLSError as error:
            self.failures += 1
            log.info("a handshake failed: %s", error)
            self._out(session, peer[1:])  # the alert that says why
            return
        session.identity = self._keys.asked
        if not over:
            while len(self._handshakes) >= MOST_HANDSHAKES:
                self._handshakes.popitem(last=False)
            self._handshakes[peer] = session
            return
        older = self._sessions.pop(peer, None)
        self._sessions[peer] = session
        session.used = now
        if older is not None and older.identity != session.identity:
            self._lost(peer)
        while len(self._sessions) > self._most:
            self._end(next(iter(self._sessions)), None)
        # What the device sent right behind its Finished may be here already.
        self._read(session, peer)

    def _step(self, session: _Session, peer: Peer) -> bool:
        """Go on with a handshake as far as it goes; whether it is over."""
        while session.buffer._handshake_state is not _OVER:
            try:
                session.buffer.do_handshake()
            except WantReadError:
                self._out(session, peer[1:])
                return False
            except WantWriteError:
                self._out(session, peer[1:])
        self._out(session, peer[1:])
        return True

    def _read(self, session: _Session, peer: Peer) -> None:
        hear = self._hear
        while hear is not None and self._sessions.get(peer) is session:
            try:
                data = session.buffer.read(_LARGEST)
            except (WantReadError, WantWriteError):
                break
            except TLSError as error:
                self._out(session, peer[1:])
                self._end(peer, error)
                return
            if not data:
                break
            session.used = self._clock.monotonic()
            self._sessions.move_to_end(peer)
            hear(data, peer)
        self._out(session, peer[1:])

    def _out(self, session: _Session, address: Peer) -> None:
        data = session.outgoing()
        if data:
            self._under.send(data, address)

    def _end(self, peer: Peer, error: TLSError | None) -> None:
        session = self._sessions.pop(peer, None)
        if session is None:
            return
        if error is None:
            self._goodbye(session, peer)  # so that the device knows, and comes back when it has something to say
        log.debug("a session ended: %s", "it rested longest" if error is None else error)
        self._lost(peer)

    def _goodbye(self, session: _Session, peer: Peer) -> None:
        try:
            session.buffer.shutdown()
        except (TLSError, WantReadError, WantWriteError) as error:
            log.debug("closing a session: %s", type(error).__name__)
        self._out(session, peer[1:])

    def _forget_idle(self) -> None:
        now = self._clock.monotonic()
        while self._sessions:
            peer, session = next(iter(self._sessions.items()))
            if now - session.used < self._idle:
                break
            self._end(peer, None)
        while self._handshakes:
            peer, session = next(iter(self._handshakes.items()))
            if now - session.used < HANDSHAKE_TIME:
                break
            del self._handshakes[peer]
