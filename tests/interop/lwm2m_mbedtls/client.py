"""The device's end of DTLS with a pre-shared key, made of the same library as the hub's but of its client half."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from mbedtls.exceptions import TLSError
from mbedtls.tls import (
    ClientContext,
    DTLSConfiguration,
    HandshakeStep,
    WantReadError,
    WantWriteError,
    ciphers_available,
)

from adapters.lwm2m.endpoint import UdpEndpoint
from adapters.lwm2m.exchange import Peer


class DtlsClientEndpoint:
    """Shakes hands with the hub when it is opened; what is sent before that is done goes out right behind it."""

    def __init__(self, identity: str, key: bytes, hub: Peer) -> None:
        self._under = UdpEndpoint("127.0.0.1", 0, receive_buffer=65_536)
        self._hub = hub
        self._waiting: list[bytes] = []
        self.dropped = 0
        self.done = asyncio.Event()
        self.ended = asyncio.Event()
        configuration = DTLSConfiguration(
            pre_shared_key=(identity, key), validate_certificates=False,
            ciphers=tuple(name for name in ciphers_available() if name.startswith("TLS-PSK")),
        )
        self._context = ClientContext(configuration)
        self._buffer = self._context.wrap_buffers("hub")
        self._hear: Callable[[bytes, Peer], None] | None = None

    @property
    def port(self) -> int:
        return self._under.port

    def open(self, hear: Callable[[bytes, Peer], None]) -> None:
        self._hear = hear
        if not self._under.port:
            self._under.open(self._datagram)
        self._go_on()

    def again(self) -> None:
        """A new handshake from the same port, as after a reboot of the device."""
        self.done.clear()
        self._buffer = self._context.wrap_buffers("hub")
        self._go_on()

    def goodbye(self) -> None:
        """End the session as TLS has it."""
        self._buffer.shutdown()
        self._flush()

    def send(self, data: bytes, peer: Peer) -> None:
        if not self.done.is_set():
            self._waiting.append(data)
            return
        with contextlib.suppress(WantReadError, WantWriteError):
            self._buffer.write(data)
        self._flush()

    def close(self) -> None:
        self._under.close()

    def _datagram(self, data: bytes, peer: Peer) -> None:
        self._buffer.receive_from_network(data)
        if not self.done.is_set():
            self._go_on()
        while self.done.is_set():
            try:
                plain = self._buffer.read(16_384)
            except (WantReadError, WantWriteError):
                return
            except TLSError:
                self.ended.set()
                return
            if not plain:
                return
            assert self._hear is not None
            self._hear(plain, self._hub)

    def _go_on(self) -> None:
        while self._buffer._handshake_state is not HandshakeStep.HANDSHAKE_OVER:
            try:
                self._buffer.do_handshake()
            except WantReadError:
                self._flush()
                return
            except WantWriteError:
                self._flush()
        self._flush()
        self.done.set()
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self.send(data, self._hub)

    def _flush(self) -> None:
        data = self._buffer.peek_outgoing(65_536)
        self._buffer.consume_outgoing(len(data))
        if data:
            self._under.send(data, self._hub)
