"""The rows beside aiocoap: both servers are real, and a wrong answer is counted."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn

from bench.coap.server import KINDS, One, door
from bench.row import Load, Size, Target
from bench.rows.lwm2m import ReadLoad, RegisteredLoad

pytestmark = pytest.mark.anyio
SMALL = Size(calls=60, window=4, listeners=120)


@contextlib.asynccontextmanager
async def serving(kind: str, spoilt: bool = False) -> AsyncIterator[Target]:
    """One of the servers; `spoilt` makes every tenth answer a wrong one."""
    async with KINDS[kind]() as (port, one):

        async def wrong(number: int, ports: list[int]) -> bytes:
            return b"?" if number % 10 == 7 else await one(number, ports)

        asked: One = wrong if spoilt else one
        with socket.create_server(("127.0.0.1", 0)) as listening:
            config = uvicorn.Config(door(port, asked), lifespan="off", log_config=None)
            server = uvicorn.Server(config)
            running = asyncio.create_task(server._serve([listening]))
            try:
                yield Target(kind, "127.0.0.1", listening.getsockname()[1], "", 0, "", False)
            finally:
                server.should_exit = True
                await running


async def run(load: Load) -> tuple[int, int]:
    """Units and losses of one lap."""
    try:
        await load.prepare()
        lap = await load.verify(await load.lap())
    finally:
        await load.close()
    return lap.units, lap.lost


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_every_device_registers_and_every_read_is_answered(kind: str) -> None:
    async with serving(kind) as target:
        assert await run(ReadLoad(target, SMALL)) == (60, 0)
    async with serving(kind) as target:
        assert await run(RegisteredLoad(target, SMALL)) == (20, 0)


async def test_a_wrong_answer_is_a_loss() -> None:
    async with serving("adapter", spoilt=True) as target:
        load = ReadLoad(target, SMALL)
        try:
            farm = await load._open()
            await farm.register(0, SMALL.listeners)
            assert (await load.lap()).lost == 6
        finally:
            await load.close()
