"""Names of upstreams, looked up on threads that nobody waits for: the system's resolver cannot be called off, and where
the network is gone it would hold up the end of the process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

MOST = 16
"""Look-ups under way at once."""

Answers = list[tuple[Any, ...]]


def system(host: str, port: int, family: int) -> Answers:
    """What the system says. Raises OSError."""
    return list(socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM))


class Resolver(AbstractResolver):
    """Looks a name up by `look`, a few at a time."""

    def __init__(self, look: Callable[[str, int, int], Answers] = system) -> None:
        self._look = look
        self._under_way = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises OSError where there are none, or too many look-ups hang already."""
        if self._under_way >= MOST:
            raise socket.gaierror(socket.EAI_AGAIN, "too many names are being looked up")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answers] = loop.create_future()

        def over(found: Answers | OSError) -> None:
            self._under_way -= 1
            if answer.done():
                return
            if isinstance(found, OSError):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def run() -> None:
            try:
                found: Answers | OSError = self._look(host, port, family)
            except (OSError, ValueError) as error:
                found = error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, "no such name")
            try:
                loop.call_soon_threadsafe(over, found)
            except RuntimeError:
                return  # the loop was closed meanwhile

        self._under_way += 1
        threading.Thread(target=run, name="hub-http-look-up", daemon=True).start()
        return [
            ResolveResult(
                hostname=host,
                host=info[4][0],
                port=info[4][1],
                family=info[0],
                proto=info[2],
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for info in await answer
        ]

    async def close(self) -> None:
        """Nothing to let go of: the threads end by themselves."""
