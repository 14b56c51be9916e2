"""The one way out: an HTTP client that connects to nothing that the guard denies, and brings nothing along.

No proxy of the environment, no cookies, no decompression; redirects are the caller's to refuse
(`allow_redirects=False`, which `OPTIONS` carries).
"""

from __future__ import annotations

import re
import socket
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from hub import __version__
from hub.delivery.outgoing.guard import Guard, NotAllowedAddress

MOST_READ: Final = 64 * 1024
"""Bytes that are read of a response, undecoded; what follows is not waited for."""

OPTIONS: Final[dict[str, Any]] = {"allow_redirects": False, "skip_auto_headers": ("Accept-Encoding",)}
"""What every request of the session is made with."""

# The caller's own deadline is the injected clock's; these only end what nobody waits for any more.
_LONGEST = aiohttp.ClientTimeout(total=60, sock_connect=20)
_CONNECTIONS = 2048
_KEPT = 4.0
_AUTHORITY = re.compile(r"[^/?]*")


class GuardedResolver(AbstractResolver):
    """Looks names up and refuses those of which any answer is denied."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The answers. Raises NotAllowedAddress, or OSError where there are none."""
        found = await self._guard.look_ups.addresses(host, port, family)
        if not self._guard.all_allowed((info[4][0] for info in found), port):
            raise NotAllowedAddress
        return [
            ResolveResult(
                hostname=host,
                host=info[4][0],
                port=info[4][1],
                family=info[0],
                proto=info[2],
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for info in found
        ]

    async def close(self) -> None:
        """Nothing to let go of: the look-ups belong to the guard."""


def outgoing_session(guard: Guard, *, ssl: Any = True) -> aiohttp.ClientSession:
    """A session for callbacks; to be closed by whoever made it. Make requests with `**OPTIONS`.

    `ssl` is aiohttp's: True verifies against the system's authorities.
    """
    connector = aiohttp.TCPConnector(
        socket_factory=guard.socket_for,
        resolver=GuardedResolver(guard),
        use_dns_cache=False,
        limit=_CONNECTIONS,
        # Shorter than what servers keep: one that hangs up first would cost a try.
        keepalive_timeout=_KEPT,
        ssl=ssl,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"asyncid-hub/{__version__}", "Accept": "*/*"},
        trust_env=False,
        auto_decompress=False,
        timeout=_LONGEST,
        middlewares=(_once,),
    )


class BrokenConnection(aiohttp.ClientConnectionError):
    """The connection ended in the middle; the request may have been heard."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """The library repeats a PUT by itself when a kept connection breaks. Attempts, and their rhythm, are counted by
    whoever makes them: under another name it leaves the failure alone."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise BrokenConnection(type(error).__name__) from error


def exactly(text: str) -> URL:
    """The URL of a registered text with its path and query as they were written, byte by byte, without its fragment.

    The authority is taken as the parser reads it, which is what the guard judged. Raises ValueError for what cannot
    stand in a request line, and for what leads to no host.
    """
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("no URL")
    read = URL(text)
    if read.scheme not in ("http", "https") or not read.host or not read.port:
        raise ValueError("no URL of a host")
    aimed = text.partition("#")[0].partition("://")[2]
    begins = _AUTHORITY.match(aimed)
    path, _, query = aimed[begins.end() if begins else 0 :].partition("?")
    return URL.build(
        scheme=read.scheme, authority=read.raw_authority, path=path or "/", query_string=query, encoded=True
    )


async def read_some(response: aiohttp.ClientResponse) -> bytes:
    """At most 64 KiB of the body. A longer one is cut off together with its connection."""
    got = bytearray()
    while len(got) < MOST_READ:
        chunk = await response.content.read(MOST_READ - len(got))
        if not chunk:
            return bytes(got)
        got += chunk
    if not response.content.at_eof():
        response.close()
    return bytes(got)
