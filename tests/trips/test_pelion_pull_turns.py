"""The long poll of the Connect dialect: one at a time, and clients that go in the middle of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio.lowlevel
import pytest

from hub.core.channels import DEFAULT
from hub.core.limits import Limits
from hub.dialects.pelion.channel_life import Turn
from tests.trips.front_rig import FOREIGN, KEY, PATIENCE, Front, running_front
from tests.trips.pelion_pull_rig import (
    PULL,
    completed,
    held,
    open_poll,
    over,
    polling,
    refs,
    until,
)

pytestmark = pytest.mark.anyio


# One poll at a time.


async def test_a_second_poll_is_told_409_and_the_first_goes_on(front: Front) -> None:
    first = await open_poll(front)

    second = await front.ask("GET", PULL)
    await completed(front, "a")

    assert (second.status, second.text) == (409, "CONCURRENT_PULL_REQUEST_RECEIVED")
    assert refs(await first) == ["a"]


async def test_each_application_has_a_poll_of_its_own(front: Front) -> None:
    mine = await open_poll(front)
    theirs = polling(front, FOREIGN)
    await until(lambda: front.pelion.channels.life("stall").polling)

    await completed(front, "a")

    assert refs(await mine) == ["a"]
    assert not theirs.done()
    theirs.cancel()


async def test_the_next_poll_may_come_at_once_on_another_connection(front: Front) -> None:
    # A vendor's SDK closes each connection and comes back while the hub still stores the position.
    headers = {"Connection": "close"}
    for number in range(30):
        await completed(front, str(number))
        assert refs(await front.ask("GET", PULL, headers=headers)) == [str(number)]


async def test_two_newcomers_at_the_end_of_a_poll_get_one_place(front: Front) -> None:
    first = await open_poll(front)
    newcomers = [polling(front), polling(front)]
    await until(lambda: front.pelion.channels.life("shop").turn is not None)
    await completed(front, "a")
    await first
    await until(lambda: any(newcomer.done() for newcomer in newcomers))
    await completed(front, "b")

    answers = sorted([await newcomer for newcomer in newcomers], key=lambda answer: answer.status)
    assert answers[-1].status == 409 and {answer.status for answer in answers} <= {200, 409}


@asynccontextmanager
async def raw_poll(front: Front, *, buffer: int | None = None) -> AsyncIterator[socket.socket]:
    """A poll on a socket of its own, of which the test reads what it likes; `buffer` is what either end holds."""
    with socket.socket() as connection:
        if buffer is not None:
            front.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", front.port))
        request = f"GET {PULL} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        await loop.sock_sendall(connection, request.encode())
        yield connection


async def test_a_client_that_has_gone_makes_room_at_once_and_loses_nothing(front: Front) -> None:
    for number in range(20):
        async with raw_poll(front):
            await held(front)
        # Its successor comes in the same moment, before the end of the connection was looked at.
        successor = polling(front)
        await completed(front, str(number))
        assert refs(await successor) == [str(number)]


async def test_a_client_that_goes_in_the_moment_of_its_answer_loses_nothing(front: Front) -> None:
    # The event is committed before the hub's loop has looked at the connection again.
    for number in range(20):
        async with raw_poll(front):
            await held(front)
        channel = await front.core.hub.channels.open(f"shop/{DEFAULT}", "acme")
        committed = asyncio.ensure_future(completed(front, str(number)))
        async with asyncio.timeout(PATIENCE):
            await channel.changed(front.core.clock.monotonic() + 1e9, front.core.clock)
        await committed
        assert refs(await polling(front)) == [str(number)]


async def test_an_answer_that_the_client_never_took_is_told_again(front: Front) -> None:
    numbers = [str(number) for number in range(40)]
    await completed(front, *numbers, payload=b"x" * 60_000)
    async with raw_poll(front, buffer=4096) as connection:
        await asyncio.get_running_loop().sock_recv(connection, 100)
    await over(front)

    told: list[str] = []
    while len(told) < len(numbers):
        told += refs(await front.ask("GET", PULL))
    assert told == numbers


async def test_a_client_that_takes_nothing_of_its_answer_is_cut_off(tmp_path: Path) -> None:
    async with running_front(tmp_path, limits=Limits(slow_listener=timedelta(seconds=0.2))) as front:
        await completed(front, *map(str, range(40)), payload=b"x" * 60_000)
        async with raw_poll(front, buffer=4096) as connection:
            await asyncio.get_running_loop().sock_recv(connection, 100)
            await over(front)

        assert refs(await front.ask("GET", PULL))[0] == "0"


async def test_a_newcomer_waits_a_moment_for_a_client_that_is_just_being_noticed_as_gone(front: Front) -> None:
    life = front.pelion.channels.life("shop")
    life.turn = going = Turn()
    newcomer = polling(front)
    await until(lambda: going.over.statistics().tasks_waiting == 1)
    await anyio.lowlevel.checkpoint()
    await anyio.lowlevel.checkpoint()
    life.turn = None
    going.over.set()

    await completed(front, "a")

    assert refs(await newcomer) == ["a"]


async def test_newcomers_that_have_gone_leave_the_line(front: Front) -> None:
    life = front.pelion.channels.life("shop")
    life.turn = going = Turn()
    going.answering = True
    waiting = going.over.statistics
    async with raw_poll(front), raw_poll(front), raw_poll(front):
        await until(lambda: waiting().tasks_waiting == 3)
    newcomer = polling(front)

    await until(lambda: waiting().tasks_waiting == 1)
    life.turn = None
    going.over.set()
    await completed(front, "a")

    assert refs(await newcomer) == ["a"]


async def test_a_poll_waits_for_each_of_those_before_it_that_come_and_go(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.dialects.pelion.pull.VANISHING", PATIENCE)
    life = front.pelion.channels.life("shop")
    life.turn = going = Turn()
    going.answering = True
    waiting = going.over.statistics
    async with raw_poll(front):
        await until(lambda: waiting().tasks_waiting == 1)
        newcomers = [polling(front), polling(front)]
        await until(lambda: waiting().tasks_waiting == 3)
        life.turn = None
        going.over.set()
        await until(lambda: life.turn is not None and life.turn.over.statistics().tasks_waiting == 2)
    # One of the two has the place now, and is answered; then the other.
    await completed(front, "a")
    await until(lambda: any(newcomer.done() for newcomer in newcomers))
    await completed(front, "b")

    assert sorted([refs(await newcomer) for newcomer in newcomers]) == [["a"], ["b"]]
