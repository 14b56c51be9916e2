"""Looking names up: answers, failures, and a resolver that hangs."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from adapters.http.resolver import MOST, Answers, Resolver

pytestmark = pytest.mark.anyio


async def test_the_addresses_of_a_name_are_told() -> None:
    (found, *_) = await Resolver().resolve("localhost", 80, socket.AF_INET)

    assert (found["host"], found["port"], found["hostname"]) == ("127.0.0.1", 80, "localhost")


async def test_a_name_that_there_is_not_is_an_error_of_the_system() -> None:
    def nowhere(host: str, port: int, family: int) -> Answers:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    with pytest.raises(OSError, match="no such name"):
        await Resolver(nowhere).resolve("nowhere.invalid", 80)


async def test_look_ups_that_hang_are_left_behind_and_bounded() -> None:
    go = threading.Event()

    def hang(host: str, port: int, family: int) -> Answers:
        go.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    resolver = Resolver(hang)
    tasks = [asyncio.ensure_future(resolver.resolve("slow.invalid", 1)) for _ in range(MOST)]
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="too many"):
        await resolver.resolve("slow.invalid", 1)
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]

    go.set()

    async with asyncio.timeout(5):
        for task in tasks[1:]:
            assert (await task)[0]["host"] == "127.0.0.1"
        while True:  # the one that was given up is counted out as well
            try:
                assert await resolver.resolve("slow.invalid", 1)
                break
            except OSError:
                await asyncio.sleep(0)
