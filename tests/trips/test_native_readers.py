"""Durable names over the API: bounded, listed, forgotten by request or because nobody uses them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest
from websockets.asyncio.client import ClientConnection

from hub.core.limits import Limits
from tests.clock import ManualClock
from tests.trips.front_rig import FOREIGN, PATIENCE, Front, running_front

pytestmark = pytest.mark.anyio

READERS = "/v1/channels/default/readers"
DAY = 24 * 3600.0


@pytest.fixture
async def front(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Front]:
    async with running_front(tmp_path, clock, Limits(readers_per_application=3)) as front:
        yield front


async def told(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        frame: dict[str, Any] = json.loads(await socket.recv())
    return frame


async def subscribe(socket: ClientConnection, name: str, channel: str = "default") -> dict[str, Any]:
    await socket.send(json.dumps({"type": "subscribe", "channel": channel, "name": name}))
    return await told(socket)


@asynccontextmanager
async def stream(front: Front, key: str | None = None) -> AsyncIterator[ClientConnection]:
    async with front.socket("/v1/stream", **({} if key is None else {"key": key})) as socket:
        assert (await told(socket))["type"] == "welcome"
        yield socket


async def names(front: Front) -> list[str]:
    return [reader["name"] for reader in (await front.ask("GET", READERS)).json]


async def left(front: Front) -> None:
    """The server has noticed that every listener is gone."""
    async with asyncio.timeout(PATIENCE):
        while len(front.listening.openings):
            await anyio.lowlevel.checkpoint()


async def test_an_application_has_a_bounded_number_of_names_whichever_sockets_make_them(front: Front) -> None:
    async with stream(front) as first, stream(front) as second, stream(front, FOREIGN) as foreign:
        for number, socket in enumerate((first, second) * 2):
            await socket.send(json.dumps({"type": "subscribe", "channel": f"c{number}", "name": "n"}))
        answers = [await told(socket) for socket in (first, second) * 2]
        assert sorted(answer["type"] for answer in answers) == ["error"] + ["subscribed"] * 3
        [refused] = [answer["problem"] for answer in answers if answer["type"] == "error"]
        assert (refused["status"], refused["type"]) == (429, "urn:hub:problem:too-many-names")

        # One that is there already is no new one, and another application has names of its own.
        taken = next(answer["channel"] for answer in answers if answer["type"] == "subscribed")
        async with stream(front) as again:
            assert (await subscribe(again, "n", taken))["type"] == "subscribed"
        assert (await subscribe(foreign, "n"))["type"] == "subscribed"


async def test_names_are_listed_with_what_they_have_seen_and_whether_somebody_holds_them(
    front: Front, clock: ManualClock
) -> None:
    async with stream(front) as socket:
        position = await subscribe(socket, "till")
        async with stream(front) as other:
            await subscribe(other, "a/b c")
        listed = await front.ask("GET", READERS)
    await left(front)

    at = clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    common = {"epoch": position["epoch"], "offset": 0, "used-at": at}
    by_name = {reader["name"]: reader for reader in listed.json}
    assert by_name["till"] == {"name": "till", "held": True, **common}
    assert set(by_name) == {"till", "a/b c"}
    assert not any(reader["held"] for reader in (await front.ask("GET", READERS)).json)
    assert "till" not in (await front.ask("GET", READERS, key=FOREIGN)).text
    assert (await front.ask("GET", "/v1/channels/shop/default/readers", key=FOREIGN)).status == 404
    assert (await front.ask("GET", "/v1/channels/missing/readers")).status == 404


async def test_a_name_that_is_forgotten_ends_for_its_holder_and_begins_anew(front: Front) -> None:
    async with stream(front) as socket:
        await subscribe(socket, "a/b c")

        assert (await front.ask("DELETE", READERS + "/a%2Fb%20c")).status == 204

        ended = await told(socket)
        assert (ended["type"], ended["code"]) == ("unsubscribed", 4503)
        assert await names(front) == []
        gone = await front.ask("DELETE", READERS + "/a%2Fb%20c")
        assert (gone.status, gone.json["type"]) == (404, "urn:hub:problem:reader-not-found")
        assert (await subscribe(socket, "a/b c"))["type"] == "subscribed"
        assert (await front.ask("DELETE", READERS + "/a%2Fb%20c", key=FOREIGN)).status == 404
        assert await names(front) == ["a/b c"]


async def test_names_that_nobody_used_for_the_retention_time_are_forgotten_and_held_ones_are_kept(
    front: Front, clock: ManualClock
) -> None:
    tidied = front.listening.names.tidy
    async with stream(front) as holder:
        await subscribe(holder, "held")
        async with stream(front) as socket:
            await subscribe(socket, "left")
        log = front.core.hub.engine.log
        await log.store_position("shop/default", "pelion", (await log.readers())[0].position)
        while front.listening.seats.held("shop/default", "shop/left"):
            await anyio.lowlevel.checkpoint()
        clock.advance(DAY - 60)
        await tidied()
        assert await names(front) == ["held", "left"]

        clock.advance(120)
        await tidied()
        assert await names(front) == ["held"]
        # The hub's own readers have an owner that looks after them.
        assert [info.name for info in await log.readers()] == ["pelion", "shop/held"]
    await left(front)

    # Held until now, on a channel where nothing happened: its time begins now, not a day ago.
    clock.advance(DAY / 2)
    await tidied()
    assert await names(front) == ["held"]


async def test_time_in_which_the_hub_was_down_is_nobodys_fault(tmp_path: Path, clock: ManualClock) -> None:
    async with running_front(tmp_path, clock) as front, stream(front) as socket:
        await subscribe(socket, "till")
    clock.advance(3 * DAY)

    async with running_front(tmp_path, clock) as front:
        await front.listening.names.tidy()
        assert await names(front) == ["till"]
        clock.advance(DAY + 60)
        await front.listening.names.tidy()
        assert await names(front) == []


async def test_it_is_looked_after_every_hour(front: Front, clock: ManualClock) -> None:
    async with stream(front) as socket:
        await subscribe(socket, "till")
    await left(front)
    tidying = asyncio.ensure_future(front.listening.names.run())
    await anyio.lowlevel.checkpoint()
    clock.advance(2 * DAY)
    async with asyncio.timeout(PATIENCE):
        while await names(front):
            await anyio.lowlevel.checkpoint()
    tidying.cancel()
