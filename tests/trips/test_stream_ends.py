"""How the native stream ends: each close code for its reason, and the limits that lead to one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hub.core.limits import Limits
from tests.doubles_listening import Served, served
from tests.trips.stream_rig import JSON, client, close_code, say, told

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hub() -> AsyncIterator[Served]:
    async with served() as hub:
        yield hub


async def test_json_that_is_none_closes_1007(hub: Served) -> None:
    async with client(hub) as socket:
        await socket.send("{")
        assert await close_code(socket) == 1007


async def test_text_that_is_not_utf8_closes_1007(hub: Served) -> None:
    async with client(hub) as socket:
        await socket.send(b"\xff\xfe", text=True)
        assert await close_code(socket) == 1007


async def test_binary_where_text_is_due_closes_1003(hub: Served) -> None:
    async with client(hub) as socket:
        await socket.send(b"{}")
        assert await close_code(socket) == 1003


async def test_text_where_binary_is_due_closes_1003(hub: Served) -> None:
    async with client(hub, subprotocol="hub.v1.msgpack") as socket:
        await socket.send("{}")
        assert await close_code(socket) == 1003


async def test_a_message_over_the_limit_closes_1009(hub: Served) -> None:
    async with client(hub) as socket:
        await socket.send('"' + "x" * (256 * 1024) + '"')
        assert await close_code(socket) == 1009


async def test_the_close_code_arrives_even_if_the_client_has_far_more_to_say(hub: Served) -> None:
    async with connect(hub.stream, subprotocols=[JSON, "key.ak_both"], proxy=None, max_queue=1) as socket:
        await told(socket)
        # The client does not look at what comes in before it has sent a good deal: a reset would hide the reason.
        socket.transport.pause_reading()
        socket.transport.write(b"\x81\xff" + (50_000_000).to_bytes(8, "big") + b"\0" * 6_000_000)
        await hub.until(lambda: socket.transport.get_write_buffer_size() == 0)
        socket.transport.resume_reading()
        assert await close_code(socket) == 1009


async def test_a_message_at_the_limit_is_read(hub: Served) -> None:
    frame = json.dumps({"type": "ping", "n": 1, "more": ""})
    async with client(hub) as socket:
        await socket.send(frame[:-2] + "x" * (256 * 1024 - len(frame)) + frame[-2:])
        assert (await told(socket))["type"] == "pong"


async def test_a_message_of_too_many_fragments_closes_1009(hub: Served) -> None:
    async with client(hub) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.send(["{"] + [" "] * 1100 + ["}"])
            await socket.recv()
        assert await close_code(socket) == 1009


async def test_fifty_subscribe_frames_a_second_are_enough() -> None:
    async with served(Limits(subscribes_per_second=5)) as hub, client(hub) as socket:
        for number in range(5):
            await say(socket, type="subscribe", channel=f"c{number}")
        for _ in range(5):
            assert (await told(socket))["type"] == "subscribed"
        await say(socket, type="unsubscribe", channel="c0")
        assert await close_code(socket) == 4013


async def test_a_revoked_key_closes_its_sockets_1008(hub: Served) -> None:
    async with client(hub, "?channel=default") as mine, client(hub, "?channel=default", key="ak_listener") as other:
        await told(mine)
        await told(other)
        hub.keys.revoke("both")

        assert await close_code(mine) == 1008
        hub.commit("a")
        assert (await told(other))["type"] == "message"
    await hub.until(lambda: not hub.keys.watchers["both"])


async def test_drain_closes_1012_and_refuses_newcomers(hub: Served) -> None:
    async with client(hub, "?channel=default") as socket:
        hub.listening.openings.drain()
        assert await close_code(socket) == 1012
    assert await hub.listening.openings.drained(hub.listening.clock.monotonic() + 5)

    with pytest.raises(InvalidStatus) as refused:
        async with client(hub):
            raise AssertionError("a draining hub takes no listeners")
    assert refused.value.response.status_code == 503


async def test_a_key_and_the_process_have_a_bounded_number_of_sockets() -> None:
    async with served(Limits(sockets_per_key=1, sockets=2)) as hub, client(hub, key="ak_both"):
        with pytest.raises(InvalidStatus) as refused:
            async with client(hub, key="ak_both"):
                pass
        assert refused.value.response.status_code == 429
        async with client(hub, key="ak_listener"):
            with pytest.raises(InvalidStatus) as refused:
                async with client(hub, key="ak_caller"):
                    pass
            assert refused.value.response.status_code == 503
        await hub.until(lambda: len(hub.listening.openings) == 1)
        async with client(hub, key="ak_listener"):
            assert len(hub.listening.openings) == 2
