"""Long poll and Server-Sent Events on real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import anyio
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hub.core.limits import Limits
from hub.delivery.envelope import message
from hub.delivery.listening import Listening
from hub.delivery.longpoll import poll
from hub.delivery.sse import EventStream, start_of_event_id
from hub.delivery.subscription import start_of_query
from hub.model.errors import HubError
from tests.clock import ManualClock
from tests.doubles_listening import Keys, Served, denial, served

pytestmark = pytest.mark.anyio

LISTENER = Keys().principals["ak_listener"]


def routes(listening: Listening) -> Sequence[BaseRoute]:
    """A front that only polls and streams."""

    async def messages(request: Request) -> Response:
        try:
            channel = await listening.channels.open("app/default", "acme")
            after = start_of_query(request.query_params).on(channel)
            hold = timedelta(seconds=float(request.query_params.get("wait", 0)))
            page = await poll(request, listening, LISTENER, channel, after, 100, hold)
        except HubError as error:
            return denial(error)
        if page is None:
            return Response(status_code=204)
        return JSONResponse([message(event) for event in page.events], headers={"gap": str(page.gap)})

    async def events(request: Request) -> EventStream:
        channel = await listening.channels.open("app/default", "acme")
        last = request.headers.get("last-event-id")
        start = start_of_event_id(last) if last else start_of_query(request.query_params)
        return EventStream(listening, LISTENER, channel, start.on(channel), denial)

    return [Route("/messages", messages), Route("/events", events)]


class Web:
    """A client of that front."""

    def __init__(self, hub: Served, session: aiohttp.ClientSession) -> None:
        self.hub = hub
        self._session = session

    async def get(self, path: str) -> tuple[int, Any]:
        async with self._session.get(f"http://127.0.0.1:{self.hub.port}{path}") as answer:
            body = await answer.read()
            return answer.status, json.loads(body) if body else None

    @asynccontextmanager
    async def events(self, query: str = "", last: str | None = None) -> AsyncIterator[aiohttp.StreamReader]:
        headers = {} if last is None else {"Last-Event-ID": last}
        async with self._session.get(f"http://127.0.0.1:{self.hub.port}/events{query}", headers=headers) as answer:
            assert answer.content_type == "text/event-stream"
            assert await chunk(answer.content) == ": open"
            yield answer.content


async def chunk(stream: aiohttp.StreamReader) -> str:
    """The next block of an event stream, "" at its end."""
    with anyio.fail_after(20):
        try:
            return (await stream.readuntil(b"\n\n")).decode().strip()
        except asyncio.IncompleteReadError:
            return ""


@pytest.fixture
async def web(clock: ManualClock) -> AsyncIterator[Web]:
    async with served(clock=clock, routes=routes) as hub, aiohttp.ClientSession() as session:
        yield Web(hub, session)


async def held(web: Web) -> None:
    """Until a poll is waiting for its channel."""
    channel = await web.hub.channel()
    await web.hub.until(lambda: bool(channel._waiters))


async def test_a_poll_is_answered_at_once_with_what_there_is(web: Web) -> None:
    web.hub.commit("a")
    web.hub.commit("b")

    status, body = await web.get("/messages?offset=0&wait=30")

    assert (status, [item["offset"] for item in body]) == (200, [1, 2])


async def test_a_held_poll_is_answered_when_something_comes(web: Web) -> None:
    polling = asyncio.ensure_future(web.get("/messages?offset=0&wait=30"))
    await held(web)

    web.hub.commit("a")

    status, body = await polling
    assert (status, [item["offset"] for item in body]) == (200, [1])


async def test_a_held_poll_ends_with_204_after_its_hold(web: Web, clock: ManualClock) -> None:
    polling = asyncio.ensure_future(web.get("/messages?wait=10"))
    await held(web)
    clock.advance(9.9)
    await web.get("/messages?wait=0")
    assert not polling.done()

    clock.advance(0.2)

    assert (await polling)[0] == 204


async def test_no_poll_is_held_longer_than_the_limit(web: Web, clock: ManualClock) -> None:
    polling = asyncio.ensure_future(web.get("/messages?wait=100000"))
    await held(web)

    clock.advance(30.1)

    assert (await polling)[0] == 204


async def test_a_poll_without_a_wait_is_not_held(web: Web) -> None:
    assert (await web.get("/messages?wait=0"))[0] == 204


async def test_drain_ends_held_polls_with_204(web: Web) -> None:
    polling = asyncio.ensure_future(web.get("/messages?wait=30"))
    await held(web)

    web.hub.listening.openings.drain()

    assert (await polling)[0] == 204
    assert (await web.get("/messages?wait=30"))[0] == 503


async def test_a_poll_whose_client_has_gone_is_let_go(web: Web) -> None:
    polling = asyncio.ensure_future(web.get("/messages?wait=30"))
    await held(web)

    polling.cancel()

    await web.hub.until(lambda: len(web.hub.listening.openings) == 0)
    assert (await web.hub.channel()).listeners == 0


async def test_a_poll_of_a_channel_that_is_deleted_is_answered_404(web: Web) -> None:
    polling = asyncio.ensure_future(web.get("/messages?wait=30"))
    await held(web)

    await web.hub.channels.delete("app/default")

    assert (await polling)[0] == 404


async def test_a_position_that_is_gone_is_answered_at_once_with_the_gap(web: Web) -> None:
    status, body = await web.get("/messages?epoch=another&offset=3&wait=30")

    assert (status, body) == (200, [])
    assert (web.hub.listening.stats.polls, web.hub.listening.stats.gaps) == (1, 1)


async def test_polls_are_bounded() -> None:
    async with served(Limits(polls=1), routes=routes) as hub, aiohttp.ClientSession() as session:
        web = Web(hub, session)
        polling = asyncio.ensure_future(web.get("/messages?wait=30"))
        await held(web)

        assert (await web.get("/messages?wait=30"))[0] == 503
        hub.commit("a")
        assert (await polling)[0] == 200


async def test_events_are_streamed_with_their_position_as_id(web: Web) -> None:
    async with web.events() as stream:
        web.hub.commit("a")
        block = await chunk(stream)

    lines = dict(line.split(": ", 1) for line in block.split("\n"))
    assert (lines["id"], lines["event"]) == ("e1:1", "message")
    assert json.loads(lines["data"])["async-responses"][0]["id"] == "a"


async def test_a_stream_goes_on_after_the_last_event_id(web: Web) -> None:
    await web.hub.channel()
    for ref in "abc":
        web.hub.commit(ref)

    async with web.events(last="e1:2") as stream:
        assert "id: e1:3\n" in await chunk(stream)
        web.hub.commit("d")
        assert "id: e1:4\n" in await chunk(stream)


async def test_a_stream_tells_a_gap_as_an_event_whose_id_leads_past_it(web: Web) -> None:
    web.hub.commit("a")

    async with web.events(last="e0:9") as stream:
        gap = await chunk(stream)
        assert gap.startswith("id: e1:0\nevent: gap\n")
        assert "id: e1:1\n" in await chunk(stream)


async def test_a_silent_stream_says_so_every_fifteen_seconds(web: Web, clock: ManualClock) -> None:
    async with web.events() as stream:
        for _ in range(2):
            await held(web)
            clock.advance(15)
            assert await chunk(stream) == ":"


async def test_drain_revocation_and_deletion_end_a_stream(web: Web) -> None:
    hub = web.hub
    for end in (
        lambda: hub.keys.revoke("listener"),
        lambda: asyncio.ensure_future(hub.channels.delete("app/default")),
        hub.listening.openings.drain,
    ):
        async with web.events() as stream:
            await held(web)
            end()
            assert await chunk(stream) == ""
    await hub.until(lambda: len(hub.listening.openings) == 0)


async def test_a_stream_whose_client_has_gone_is_let_go(web: Web) -> None:
    async with web.events():
        assert len(web.hub.listening.openings) == 1

    await web.hub.until(lambda: len(web.hub.listening.openings) == 0)
    assert (await web.hub.channel()).listeners == 0


async def test_a_stream_that_is_not_read_is_cut(clock: ManualClock) -> None:
    async with served(
        Limits(slow_listener=timedelta(seconds=0.3)), clock=clock, routes=routes
    ) as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port, limit=1024)
        writer.write(b"GET /events HTTP/1.1\r\nHost: hub\r\n\r\n")
        await reader.readuntil(b": open\n\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(400):
            hub.commit(str(number), payload=b"x" * 30_000)
            for _ in range(3):
                await anyio.lowlevel.checkpoint()

        await hub.until(lambda: len(hub.listening.openings) == 0)
        await hub.until(lambda: not hub.server.server_state.connections)
        writer.transport.abort()
        assert hub.listening.stats.slow_closed == 1
