"""Which addresses the hub may call on somebody's wish: none that leads inwards (delivery-guarantees F9, F10).

The address is judged three times: as the text that was registered (`parsed`), as what its name resolves to now
(`vet`, and again by `GuardedResolver` at each connect), and as the socket's own destination (`socket_for`), which
nothing can slip past: literal addresses, odd spellings, names that change between look and use. `is_global` of the
standard library is not enough, hence the explicit list.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Any

from yarl import URL

from hub.delivery.outgoing.lookup import LookUps
from hub.model.errors import Unprocessable
from hub.ports.clock import Clock

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_URL = 2048
LOOK_UP = 3.0
"""Seconds that a look-up at registration may take; what it would have said is said at the connect then."""
REMEMBERED = 10.0
_MOST_REMEMBERED = 1024
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?", re.ASCII)
_PASSING = (socket.EAI_AGAIN, socket.EAI_MEMORY, getattr(socket, "EAI_SYSTEM", socket.EAI_AGAIN))

DENIED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
        "::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2002::/16",
        "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip


class NotAllowedAddress(OSError):
    """A connection to a denied address was asked for; nothing was sent."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "address not allowed")


class Guard:
    """Judges addresses for one hub. `allow` are networks that the operator takes off the deny list.

    `own_ports` are the hub's own listening ports: never called on an address of this machine, whatever is allowed.
    """

    def __init__(
        self,
        clock: Clock,
        allow: Iterable[str] = (),
        own_ports: Iterable[int] = (),
        look_ups: LookUps | None = None,
    ) -> None:
        self._clock = clock
        self.look_ups = look_ups or LookUps()
        self._allow = tuple(ipaddress.ip_network(text, strict=False) for text in allow)
        self.own_ports = set(own_ports)
        self._seen: dict[tuple[str, int], tuple[float, bool]] = {}

    def allowed(self, ip: Address, port: int = 0) -> bool:
        """Whether a connection to this address and port may be made."""
        ip = _unwrapped(ip)
        if _in(ip, DENIED) and not _in(ip, self._allow):
            return False
        return port not in self.own_ports or not _is_ours(ip)

    def parsed(self, text: str, most: int = MOST_URL) -> URL:
        """The URL of a registered text. Raises Unprocessable (`callback-address`) for what can be known from it:
        another scheme than http and https, credentials, a denied literal address, over `most` characters."""
        if len(text) > most:
            raise _denied(f"a callback URL has at most {most} characters")
        if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
            raise _denied("a callback URL has visible ASCII characters only, and no backslash")
        try:
            url = URL(text)
            host, port = url.host, url.port
        except (ValueError, TypeError):
            raise _denied("this is no URL") from None
        if url.scheme not in ("http", "https"):
            raise _denied("a callback URL begins with http:// or https://")
        if not host or not port:
            raise _denied("a callback URL names a host, and a port from 1 to 65535 if any")
        if url.user is not None or url.password is not None or "@" in _authority(text):
            raise _denied("a callback URL has no credentials")
        ip = _literal(host)
        if ip is None and _NAME.fullmatch(str(url.raw_host)) is None:
            raise _denied("a callback URL names a host by letters, digits, hyphens and dots, or by its address")
        if ip is not None and not self.allowed(ip, port):
            raise _denied("this address is not allowed")
        return url

    async def vet(self, text: str, most: int = MOST_URL) -> None:
        """As `parsed`, and what the host's name resolves to now: all of it must be allowed.

        A name that does not exist is refused. One that cannot be looked up just now is let pass: it is looked up
        again, and judged, at every connect.
        """
        url = self.parsed(text, most)
        host, port = str(url.host), int(url.port or 0)
        if _literal(host) is not None:
            return
        known = self._seen.get((host, port))
        if known is not None and known[0] > self._clock.monotonic():
            good = known[1]
        else:
            try:
                async with asyncio.timeout(LOOK_UP):
                    good = await self._look_up(host, port)
            except TimeoutError:
                return
        if not good:
            raise _denied("the host of this URL cannot be found, or is not allowed")

    async def _look_up(self, host: str, port: int) -> bool:
        try:
            found = await self.look_ups.addresses(host, port)
        except OSError as error:
            if error.errno in _PASSING:
                return True
            good = False
        else:
            good = self.all_allowed((str(info[4][0]) for info in found), port)
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen.clear()
        self._seen[host, port] = (self._clock.monotonic() + REMEMBERED, good)
        return good

    def all_allowed(self, addresses: Iterable[str], port: int) -> bool:
        """Whether every one of the addresses that a name stands for is allowed: one denied spoils the name."""
        return all(self.allowed(ipaddress.ip_address(text), port) for text in addresses)

    def socket_for(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for one connection that is about to be made to `info` (of getaddrinfo). Raises NotAllowedAddress.

        aiohttp asks here for every connection, after resolution: the address judged is the address connected to.
        """
        family, kind, proto, _, sockaddr = info
        if not self.allowed(ipaddress.ip_address(sockaddr[0]), int(sockaddr[1])):
            raise NotAllowedAddress
        return socket.socket(family, kind, proto)


def _authority(text: str) -> str:
    """What stands between the slashes and the path, as it was written: parsers forget an empty user."""
    return re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]


def _denied(detail: str) -> Unprocessable:
    return Unprocessable(detail, code="callback-address", fields=(("/callback", detail),))


def _unwrapped(ip: Address) -> Address:
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


def _in(ip: Address, networks: Iterable[Network]) -> bool:
    return any(ip.version == network.version and ip in network for network in networks)


def _literal(host: str) -> Address | None:
    """The address that a host is, in any spelling that the system's own resolver takes for one: `0x7f.1`, `127.1`."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host.rstrip(".")))
    except (OSError, ValueError):
        return None


def _is_ours(ip: Address) -> bool:
    """Whether the address is one of this machine's: only those can be bound."""
    if ip.is_loopback or ip.is_unspecified:
        return True
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True
