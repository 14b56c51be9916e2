"""Names looked up on threads of our own: the system's resolver blocks, for long where the network is gone.

Daemon threads, because a look-up cannot be called off and the hub must be able to leave within seconds; a bounded
line, because hostile names must not pile up.
"""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hub.core.on_behalf import ACCOUNT

THREADS = 16
SHARE = 4
"""Threads that look names up for one account at the same time."""
MOST_WAITING = 4096
MOST_OF_ONE = 512
"""Names that wait or are being looked up, in all and for one account."""

Answers = list[tuple[Any, ...]]
Look = Callable[[str, int, int], Answers]


def system_look_up(host: str, port: int, family: int) -> Answers:
    """What the system's resolver says, as `socket.getaddrinfo` returns it."""
    return list(socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM))


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    account: str
    answer: asyncio.Future[Answers]
    host: str
    port: int
    family: int


class LookUps:
    """Looks names up, a few at a time. Its threads start with the first question. `look` is what they ask.

    An account (`on_behalf`) has a share of the threads, and accounts take turns: whose names hang waits for itself.
    """

    def __init__(self, look: Look = system_look_up) -> None:
        self._look = look
        self._asked: queue.SimpleQueue[_Question] = queue.SimpleQueue()
        self._threads = 0
        self._lines: dict[str, deque[_Question]] = {}
        self._running: Counter[str] = Counter()

    @property
    def busy(self) -> int:
        """How many questions wait or are being looked up."""
        return self._running.total() + sum(len(line) for line in self._lines.values())

    async def addresses(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> Answers:
        """The answers for a name. Raises OSError (gaierror where the resolver says why) when there are none."""
        account = ACCOUNT.get()
        mine = self._running[account] + len(self._lines.get(account, ()))
        if mine >= MOST_OF_ONE or self.busy >= MOST_WAITING:
            raise socket.gaierror(socket.EAI_AGAIN, "too many names are being looked up")
        answer: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_seen)
        self._lines.setdefault(account, deque()).append(_Question(account, answer, host, port, family))
        self._hand_out()
        return await answer

    def _hand_out(self) -> None:
        """Give the threads what they may look up now, one question of each account and round."""
        again = True
        while again:
            again = False
            for account in tuple(self._lines):
                if self._running.total() >= THREADS:
                    return
                if self._running[account] < SHARE:
                    again |= self._hand_out_one(account)

    def _hand_out_one(self, account: str) -> bool:
        line = self._lines.pop(account)
        while line:
            question = line.popleft()
            if not question.answer.done():
                self._running[account] += 1
                if self._threads < self._running.total():
                    self._threads += 1
                    threading.Thread(target=self._run, name="hub-look-up", daemon=True).start()
                self._asked.put(question)
                break
        if line:
            # Behind all the others now.
            self._lines[account] = line
        return bool(line)

    def _over(self, question: _Question, found: Answers | BaseException) -> None:
        """A thread is free again; whoever gave up waiting has occupied it till now."""
        self._running[question.account] -= 1
        if not self._running[question.account]:
            del self._running[question.account]
        _tell(question.answer, found)
        self._hand_out()

    def _run(self) -> None:
        while True:
            question = self._asked.get()
            try:
                found: Answers | BaseException = self._look(question.host, question.port, question.family)
            except (OSError, ValueError) as error:
                found = error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, "no such name")
            try:
                question.answer.get_loop().call_soon_threadsafe(self._over, question, found)
            except RuntimeError:
                continue  # that loop was closed meanwhile


def _seen(answer: asyncio.Future[Answers]) -> None:
    if not answer.cancelled():
        answer.exception()  # whoever asked has it, or has left


def _tell(answer: asyncio.Future[Answers], found: Answers | BaseException) -> None:
    if answer.done():
        return
    if isinstance(found, BaseException):
        answer.set_exception(found)
    else:
        answer.set_result(found)
