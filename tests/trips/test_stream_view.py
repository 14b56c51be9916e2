"""The push-only socket that a dialect serves in a view of its own: batches, a stored place, one socket at a time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Hashable, Sequence

import pytest
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect

from hub.delivery.listening import Listening
from hub.delivery.socket import serve_view
from hub.model.event import Event, Gap, Position
from tests.clock import ManualClock
from tests.doubles_listening import Served, served
from tests.trips.stream_rig import close_code, told

pytestmark = pytest.mark.anyio

READER = "batches"


class Batches:
    """A view that tells many events in one message, and nothing of those without a payload."""

    binary = False

    @property
    def key(self) -> Hashable:
        return READER

    def render(self, events: Sequence[Event]) -> list[bytes]:
        shown = [event.offset for event in events if event.body["payload"]]
        return [json.dumps({"offsets": shown}).encode()] if shown else []

    def gap(self, gap: Gap, channel: str, epoch: str) -> bytes | None:
        return json.dumps({"gap": gap.reason}).encode()


def routes(listening: Listening) -> Sequence[BaseRoute]:
    async def endpoint(websocket: WebSocket) -> None:
        channel = await listening.channels.open("app/default", "acme")
        start = await listening.log.position(channel.name, READER) or Position(channel.epoch, 0)
        with listening.openings.open("key") as opening:
            await websocket.accept()
            await serve_view(websocket, listening, opening, channel, Batches(), start, reader=READER)

    return [WebSocketRoute("/batches", endpoint)]


@pytest.fixture
async def hub(clock: ManualClock) -> AsyncIterator[Served]:
    async with served(clock=clock, routes=routes) as hub:
        yield hub


def batches(hub: Served) -> connect:
    return connect(f"ws://127.0.0.1:{hub.port}/batches", proxy=None, ping_interval=None)


async def connected(hub: Served, socket: ClientConnection, count: int = 1) -> None:
    await hub.until(lambda: len(hub.listening.openings) == count and hub.listening.seats.held("app/default", READER))


async def test_events_of_one_commit_come_as_one_batch(hub: Served) -> None:
    async with batches(hub) as socket:
        await connected(hub, socket)
        for ref in "abc":
            hub.commit(ref)

        assert await told(socket) == {"offsets": [1, 2, 3]}


async def test_a_batch_that_was_filtered_empty_is_no_message_and_moves_on(hub: Served, clock: ManualClock) -> None:
    async with batches(hub) as socket:
        await connected(hub, socket)
        hub.commit("a", payload=b"")
        await hub.until(lambda: clock.pending > 0)
        clock.advance(1)
        await hub.until(lambda: hub.log.positions.get(("app/default", READER)) == Position("e1", 1))
        hub.commit("b")

        assert await told(socket) == {"offsets": [2]}


async def test_a_pong_moves_the_place_and_the_next_socket_goes_on_from_it(hub: Served, clock: ManualClock) -> None:
    async with batches(hub) as socket:
        await connected(hub, socket)
        hub.commit("a")
        await told(socket)
        clock.advance(1)
        await hub.until(lambda: ("app/default", READER) in hub.log.positions)
    hub.commit("b")

    async with batches(hub) as socket:
        assert await told(socket) == {"offsets": [2]}


async def test_a_newer_socket_displaces_the_older_one_with_1001(hub: Served) -> None:
    async with batches(hub) as older:
        await connected(hub, older)
        async with batches(hub) as newer:
            assert await close_code(older) == 1001
            await connected(hub, newer)
            hub.commit("a")
            assert await told(newer) == {"offsets": [1]}


async def test_a_dialect_can_end_the_socket_with_a_code_of_its_own(hub: Served) -> None:
    async with batches(hub) as socket:
        await connected(hub, socket)

        assert hub.listening.seats.unseat("app/default", READER, 1000)

        assert await close_code(socket) == 1000
    assert not hub.listening.seats.unseat("app/default", READER, 1000)


async def test_a_deleted_channel_closes_1000_and_drain_1012(hub: Served) -> None:
    async with batches(hub) as socket:
        await connected(hub, socket)
        await hub.channels.delete("app/default")
        assert await close_code(socket) == 1000
    async with batches(hub) as socket:
        await connected(hub, socket)
        hub.listening.openings.drain()
        assert await close_code(socket) == 1012


async def test_what_the_client_says_is_read_and_ignored_so_that_its_pongs_are_seen(
    hub: Served, clock: ManualClock
) -> None:
    async with batches(hub) as socket:
        await connected(hub, socket)
        for _ in range(200):
            await socket.send("anything")
        hub.commit("a")
        assert await told(socket) == {"offsets": [1]}
        clock.advance(1)
        await hub.until(lambda: hub.log.positions.get(("app/default", READER)) == Position("e1", 1))


async def test_a_gap_is_told_in_the_views_own_words(hub: Served) -> None:
    hub.log.positions["app/default", READER] = Position("e0", 4)
    hub.commit("a")

    async with batches(hub) as socket:
        assert await told(socket) == {"gap": "epoch"}
        assert await told(socket) == {"offsets": [1]}
