"""Names looked up on threads of our own: the system's resolver blocks, for long where the network is gone.

Daemon threads, because a look-up cannot be called off and the hub must be able to leave within seconds; a bounded
line, because hostile names must not pile up.
"""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

THREADS = 16
MOST_WAITING = 1024

Answers = list[tuple[Any, ...]]
Look = Callable[[str, int, int], Answers]


def system_look_up(host: str, port: int, family: int) -> Answers:
    """What the system's resolver says, as `socket.getaddrinfo` returns it."""
    return list(socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM))


class LookUps:
    """Looks names up, a few at a time. Its threads start with the first question. `look` is what they ask."""

    def __init__(self, look: Look = system_look_up) -> None:
        self._look = look
        self._asked: queue.SimpleQueue[tuple[asyncio.Future[Answers], str, int, int]] = queue.SimpleQueue()
        self._threads = 0
        self._waiting = 0

    async def addresses(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> Answers:
        """The answers for a name. Raises OSError (gaierror where the resolver says why) when there are none."""
        if self._waiting >= MOST_WAITING:
            raise socket.gaierror(socket.EAI_AGAIN, "too many names are being looked up")
        if self._threads < min(THREADS, self._waiting + 1):
            self._threads += 1
            threading.Thread(target=self._run, name="hub-look-up", daemon=True).start()
        self._waiting += 1
        answer: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(self._over)
        self._asked.put((answer, host, port, family))
        return await answer

    def _over(self, answer: asyncio.Future[Answers]) -> None:
        self._waiting -= 1
        if not answer.cancelled():
            answer.exception()  # whoever asked has it, or has left

    def _run(self) -> None:
        while True:
            answer, host, port, family = self._asked.get()
            if answer.cancelled():
                continue
            try:
                found: Answers | BaseException = self._look(host, port, family)
            except (OSError, ValueError) as error:
                found = error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, "no such name")
            try:
                answer.get_loop().call_soon_threadsafe(_tell, answer, found)
            except RuntimeError:
                continue  # that loop was closed meanwhile


def _tell(answer: asyncio.Future[Answers], found: Answers | BaseException) -> None:
    if answer.done():
        return
    if isinstance(found, BaseException):
        answer.set_exception(found)
    else:
        answer.set_result(found)
