"""Names looked up for many accounts: one whose names hang has a share of the threads, and nobody waits behind it."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from hub.core.on_behalf import on_behalf
from hub.delivery.outgoing.lookup import MOST_OF_ONE, SHARE, THREADS, Answers, LookUps

pytestmark = pytest.mark.anyio


class Resolver:
    """Names that begin with `slow` hang until `let_go`."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.under_way = 0
        self.most = 0
        self.started = threading.Semaphore(0)
        self._lock = threading.Lock()

    def __call__(self, host: str, port: int, family: int) -> Answers:
        if host.startswith("slow"):
            with self._lock:
                self.under_way += 1
                self.most = max(self.most, self.under_way)
            self.started.release()
            self.let_go.wait(10)
            with self._lock:
                self.under_way -= 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("198.51.100.7", port))]


def asked(look_ups: LookUps, account: str, host: str) -> asyncio.Task[Any]:
    with on_behalf(account):
        return asyncio.ensure_future(look_ups.addresses(host, 80))


async def test_an_account_whose_names_hang_delays_nobody_else() -> None:
    resolver = Resolver()
    look_ups = LookUps(resolver)
    slow = [asked(look_ups, "hostile", f"slow{number}.test") for number in range(4 * THREADS)]
    try:
        async with asyncio.timeout(5):
            for number in range(50):
                assert await asked(look_ups, "good", f"fast{number}.test")
        assert not any(one.done() for one in slow)
        assert resolver.most <= SHARE
    finally:
        resolver.let_go.set()
        assert len(await asyncio.gather(*slow)) == 4 * THREADS


async def test_whoever_gave_up_waiting_still_has_its_thread_counted() -> None:
    resolver = Resolver()
    look_ups = LookUps(resolver)
    slow = [asked(look_ups, "hostile", f"slow{number}.test") for number in range(SHARE)]
    try:
        for _ in range(SHARE):
            assert await asyncio.to_thread(resolver.started.acquire, timeout=5)
        for one in slow:
            one.cancel()
        await asyncio.wait(slow)
        more = asked(look_ups, "hostile", "slow-more.test")
        async with asyncio.timeout(5):
            assert await asked(look_ups, "good", "fast.test")
        assert resolver.under_way == SHARE
    finally:
        resolver.let_go.set()
    assert await more


async def test_the_line_of_one_account_is_bounded_and_that_of_another_open() -> None:
    resolver = Resolver()
    look_ups = LookUps(resolver)
    slow = [asked(look_ups, "hostile", f"slow{number}.test") for number in range(MOST_OF_ONE)]
    try:
        with pytest.raises(socket.gaierror) as refused:
            await asked(look_ups, "hostile", "slow-more.test")
        assert refused.value.errno == socket.EAI_AGAIN
        async with asyncio.timeout(5):
            assert await asked(look_ups, "good", "fast.test")
    finally:
        resolver.let_go.set()
        await asyncio.gather(*slow)


async def test_nothing_is_kept_of_what_is_over() -> None:
    look_ups = LookUps(Resolver())
    for number in range(20):
        await asked(look_ups, f"account-{number}", "fast.test")
    assert not look_ups.busy
