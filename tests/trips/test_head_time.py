"""The time that a request's head has where nobody configured another: ten seconds from its first byte."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from hub.core.limits import Limits
from tests.doubles_listening import Served, served

pytestmark = pytest.mark.anyio

HALF = b"GET /echo HTTP/1.1\r\nHost: hub\r\nX-Half: "


async def half_sent(hub: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection with half a head, which the server has read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    writer.write(HALF)
    await hub.until(lambda: any(one._timer is not None for one in connections(hub)))
    return reader, writer


def connections(hub: Served) -> list[Any]:
    return list(hub.server.server_state.connections)


async def test_by_default_a_half_sent_head_has_ten_seconds() -> None:
    assert Limits().head_time == timedelta(seconds=10)
    async with served(Limits()) as hub:
        began = asyncio.get_running_loop().time()
        _, writer = await half_sent(hub)
        [connection] = connections(hub)
        due = connection._timer.when()
        writer.close()

        assert began + 9.9 <= due <= asyncio.get_running_loop().time() + 10.1


@pytest.mark.soak
async def test_a_half_sent_head_is_answered_408_after_ten_seconds() -> None:
    async with served(Limits()) as hub:
        began = asyncio.get_running_loop().time()
        reader, writer = await half_sent(hub)
        async with asyncio.timeout(20):
            answer = await reader.read()
        writer.close()

        assert answer.startswith(b"HTTP/1.1 408 ")
        assert 9.5 <= asyncio.get_running_loop().time() - began <= 13
