"""What callbacks are on the wire: exactly the path and query that were registered, each attempt one request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from hub.core.channels import DEFAULT
from hub.delivery.outgoing.client import OPTIONS, exactly, outgoing_session
from hub.dialects.pelion.record import PelionChannel, channel_of
from hub.model.event import EventDraft, EventKind
from hub.model.record import Kind
from hub.ports.adapter import DeviceResponse
from tests.trips.front_rig import PATIENCE, Front, running_front
from tests.trips.raw_receiver import RawReceiver, receiving_raw
from tests.trips.receiver import receiving
from tests.unit.test_guard import LITERALS, NAMES, TEXTS, WatchingGuard

pytestmark = pytest.mark.anyio

CALLBACK = "/v2/notification/callback"

TARGETS = [
    "/", "/notify?token=%7Eabc", "/a/../b", "/a/./b//c/", "/%2e%2e/x", "/a%2fb?c=%2F", "/x?a=b+c&a=%20&&=",
    "/~user;v=1", "/p?next=http://other.example/%3Fq", "/<x>?{y}|`^", "/%41%zz?%", "/x?q='\"", "/x?a?b??",
]  # fmt: skip


@pytest.fixture
async def raw() -> AsyncIterator[RawReceiver]:
    async with receiving_raw() as receiver:
        yield receiver


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    async with running_front(tmp_path) as front:
        front.core.adapter.on_call = lambda request: DeviceResponse(200, b"21.5")
        yield front


async def completed(front: Front, ref: str) -> None:
    body = {"call_id": "c", "device": "lamp", "status": 200, "payload": b"21.5", "content_type": None, "ref": ref}
    draft = EventDraft(f"shop/{DEFAULT}", EventKind.COMPLETION, body)
    await front.core.hub.engine.log.append([draft], {draft.channel: "acme"})


async def test_a_connect_callback_is_called_exactly_as_it_was_registered(front: Front, raw: RawReceiver) -> None:
    for target in TARGETS:
        answer = await front.ask("PUT", CALLBACK, {"url": f"{raw.url}{target}#part"})
        await completed(front, "a")

        assert answer.status == 204, (target, answer)
        assert [(await raw.next()).line for _ in range(2)] == [f"PUT {target} HTTP/1.1"] * 2
        assert (await front.ask("GET", CALLBACK)).json["url"] == f"{raw.url}{target}#part"


async def test_the_callback_of_a_call_is_called_exactly_as_it_was_given(front: Front, raw: RawReceiver) -> None:
    for target in TARGETS:
        body = {"method": "GET", "uri": "/3303/0/5700", "callback": f"{raw.url}{target}#part"}
        assert (await front.ask("POST", "/v1/devices/lamp/calls", body)).status == 202

        assert (await raw.next()).line == f"POST {target} HTTP/1.1"


async def test_a_url_without_a_path_asks_for_the_root(front: Front, raw: RawReceiver) -> None:
    await front.ask("PUT", CALLBACK, {"url": f"{raw.url}?a=%7E"})

    assert (await raw.next()).line == "PUT /?a=%7E HTTP/1.1"


async def test_hostile_urls_lead_nowhere_however_exactly_they_are_taken() -> None:
    """As if nobody had looked at them before."""
    hostile = [*TEXTS, *(f"http://{host}/a/../%7e?b" for host in (*LITERALS, *NAMES))]
    guard = WatchingGuard()
    async with receiving() as receiver, outgoing_session(guard) as session, asyncio.timeout(4 * PATIENCE):
        for text in hostile:
            scheme, found, rest = text.partition("://")
            host, slash, path = rest.partition("/")
            aimed = [text, f"{scheme}{found}{host}:{receiver.port}{slash}{path}"]
            for url in aimed:
                try:
                    exact = exactly(url)
                except (ValueError, TypeError):
                    continue
                with pytest.raises((aiohttp.ClientError, OSError, ValueError, TypeError)):
                    await session.put(exact, data=b"{}", **OPTIONS)
        assert receiver.got.empty()
    assert len(hostile) >= 100
    assert guard.given == []


@pytest.mark.parametrize(
    "path", ["/\r\nX-Evil: 1", "/\nHost: x", "/ HTTP/1.1\r\nX: y", "/x?a\r\nb", "/\x00", "/\x7f", "/ä"]
)
async def test_nothing_can_be_injected_by_a_path(raw: RawReceiver, path: str) -> None:
    guard = WatchingGuard(("127.0.0.0/8",))
    async with outgoing_session(guard) as session:
        with pytest.raises(ValueError):
            await session.put(exactly(raw.url + path), data=b"{}", **OPTIONS)
    assert raw.got.empty()


def test_the_host_is_the_one_that_was_judged() -> None:
    for text in ("HTTP://EXAMPLE.org:81/%7e", "http://example.org?@127.0.0.1/", "http://example.org#@127.0.0.1/"):
        url = exactly(text)
        assert (url.scheme, url.host, url.port) == ("http", "example.org", URL(text).port)


async def test_a_batch_on_a_connection_that_breaks_is_one_attempt_and_not_said_again(
    front: Front, raw: RawReceiver
) -> None:
    await front.ask("PUT", CALLBACK, {"url": raw.url})
    await raw.next()
    raw.hang_up = True
    await completed(front, "a")
    first = await raw.next()
    failing = await _failing(front)

    assert (first.on_kept, raw.hung_up) == (True, 1)
    assert failing.failing is not None and failing.failing.times == 1
    assert raw.got.empty()

    front.core.clock.advance(1)
    second = await raw.next()
    assert (second.on_kept, second.body) == (False, first.body)


async def test_a_trial_on_a_connection_that_breaks_is_not_said_again(front: Front, raw: RawReceiver) -> None:
    await front.ask("PUT", CALLBACK, {"url": raw.url})
    raw.hang_up = True
    answer = await front.ask("PUT", CALLBACK, {"url": raw.url})

    assert (answer.status, answer.text) == (400, "CALLBACK_UNREACHABLE")
    assert raw.got.qsize() == 2


async def test_a_signed_delivery_on_a_connection_that_breaks_is_one_attempt(front: Front, raw: RawReceiver) -> None:
    async def call(number: int) -> None:
        body = {"method": "GET", "uri": "/3303/0/5700", "callback": f"{raw.url}/{number}"}
        await front.ask("POST", "/v1/devices/lamp/calls", body)

    await call(1)
    await raw.next()
    async with asyncio.timeout(PATIENCE):
        while not front.core.hub.stats.callbacks_taken:
            await front.core.settle()
    raw.hang_up = True
    await call(2)
    await raw.next()
    async with asyncio.timeout(PATIENCE):
        while not front.core.hub.stats.callbacks_failed:
            await front.core.settle()

    assert raw.hung_up == 1
    assert raw.got.empty()


async def _failing(front: Front) -> PelionChannel:
    async with asyncio.timeout(PATIENCE):
        while True:
            found = channel_of(front.core.hub.directory.record(Kind.CHANNEL, "shop"))
            if found is not None and found.failing is not None:
                return found
            front.record_written.clear()
            await front.record_written.wait()
