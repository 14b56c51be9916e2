"""The ways in and out: the plain port and, with DTLS, the secure one. A peer says by which it is reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from adapters.lwm2m.endpoint import Endpoint, UdpEndpoint
from adapters.lwm2m.exchange import Peer
from adapters.lwm2m.settings import LwM2MSettings
from hub.model.errors import CannotListen
from hub.ports.abilities import HoldsKeys
from hub.ports.adapter import AdapterContext

SECURE = "dtls"


class Doors:
    """Both ports as one. `lost` is told of every secure peer whose session is over."""

    def __init__(
        self, ctx: AdapterContext, settings: LwM2MSettings, plain: Endpoint, lost: Callable[[Peer], None]
    ) -> None:
        self._plain = plain
        self._secure: Any = None
        if settings.dtls:
            # Here and not above: the library is an extra.
            from adapters.lwm2m.dtls import DtlsEndpoint

            if not isinstance(ctx, HoldsKeys):
                raise RuntimeError("dtls: this hub holds no pre-shared keys")
            under = UdpEndpoint(settings.host, settings.dtls_port, settings.next_ports, settings.receive_buffer)
            self._secure = DtlsEndpoint(
                under, ctx.clock, ctx.psk, lost, settings.dtls_sessions, settings.dtls_idle
            )

    @property
    def ports(self) -> list[int]:
        """The open ports."""
        return [door.port for door in (self._plain, self._secure) if door is not None]

    def open(self, hear: Callable[[bytes, Peer], None]) -> None:
        """Open both, or none. Raises CannotListen."""
        self._plain.open(hear)
        if self._secure is not None:
            try:
                self._secure.open(hear)
            except CannotListen:
                self._plain.close()
                raise

    def close(self) -> None:
        """Close both."""
        if self._secure is not None:
            self._secure.close()
        self._plain.close()

    def send(self, data: bytes, peer: Peer) -> None:
        """Send a datagram by the door that the peer is behind."""
        if peer[0] != SECURE:
            self._plain.send(data, peer)
        elif self._secure is not None:
            self._secure.send(data, peer)

    def identity(self, peer: Peer) -> str | None:
        """Who a peer has proved to be; None for all that come by the plain door."""
        if peer[0] != SECURE or self._secure is None:
            return None
        identity: str | None = self._secure.identity(peer)
        return identity

    def health(self) -> Mapping[str, Any]:
        """What the doors have to say of themselves."""
        told: dict[str, Any] = {
            "port": self._plain.port,
            "ports": {"coap": self._plain.port},
            "dropped": self._plain.dropped,
        }
        if self._secure is not None:
            told["dropped"] += self._secure.dropped
            told["dtls_port"] = told["ports"]["coaps"] = self._secure.port
            told["sessions"] = len(self._secure)
            told["handshake_failures"] = self._secure.failures
        return told
