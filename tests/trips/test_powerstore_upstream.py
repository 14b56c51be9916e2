"""An array that is itself behind an upstream with jobs: judged by its document, meant by a host, told to a webhook."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.http.double import Server
from tests.trips.powerstore_rig import KEY, Served, serving
from tests.trips.receiver import receiving
from tests.trips.test_powerstore_schema import world

pytestmark = pytest.mark.anyio

HOST = {"Host": "behind.example.org"}
BEHIND = """
[callbacks]
allow = ["127.0.0.0/8"]
[adapters.arrays]
kind = "http"
jobs = "powerstore"
[adapters.arrays.upstreams.a1]
url = "{url}"
[devices.behind]
account = "acme"
adapter = "arrays"
address = "a1"
type = "array"
schema = "things"
"""


@asynccontextmanager
async def behind(folder: Path) -> AsyncIterator[tuple[Served, Server]]:
    """A hub with the array `behind`, and the upstream that this array is."""
    server = Server("a1")
    await server.open()
    text = world(folder) + BEHIND.format(url=server.url)
    text = text.replace("[powerstore.hosts]", '[powerstore.hosts]\n"behind.example.org" = "behind"')
    try:
        async with serving(folder, world=text) as hub:
            server.clock = hub.clock
            yield hub, server
    finally:
        await server.close()


async def passing(hub: Served, over: Callable[[], bool]) -> None:
    """Let the hub's time go on until something is so."""
    async with asyncio.timeout(10):
        while not over():
            hub.clock.advance(0.25)
            for _ in range(50):
                await asyncio.sleep(0)


async def test_the_document_of_an_array_behind_an_upstream_refuses_before_anything_is_sent(tmp_path: Path) -> None:
    async with behind(tmp_path) as (hub, server):
        server.length = timedelta(hours=1)
        for method, path, body, status in [
            ("PATCH", "thing/1", {"size": "x"}, 400), ("PATCH", "thing/1", {"sise": 1}, 400),
            ("PATCH", "thong/1", {"size": 1}, 404), ("DELETE", "thing/1", None, 405),
        ]:  # fmt: skip
            assert (await hub.ask(method, f"{path}?is_async=true", body, HOST)).status == status, (method, path)
        assert server.heard == []

        assert (await hub.ask("PATCH", "thing/1?is_async=true", {"size": 1}, HOST)).status == 202
        await server.until(lambda: bool(server.jobs))
        assert [(heard.method, heard.path) for heard in server.heard] == [("PATCH", "/api/thing/1")]


async def test_a_host_means_its_array_also_where_that_is_behind_an_upstream(tmp_path: Path) -> None:
    async with behind(tmp_path) as (hub, server):
        server.length = timedelta(hours=1)
        job = (await hub.ask("PATCH", "thing/1?is_async=true", {"size": 1}, HOST)).json["id"]
        await server.until(lambda: bool(server.jobs))

        assert [each["id"] for each in (await hub.ask("GET", "job", headers=HOST)).json] == [job]
        assert (await hub.ask("GET", "job")).json == []
        assert (await hub.ask("GET", f"job/{job}", headers=HOST)).status == 200
        assert (await hub.ask("GET", f"job/{job}")).status == 404


async def test_a_webhook_of_the_application_hears_the_end_of_a_job_that_an_upstream_held(tmp_path: Path) -> None:
    async with receiving() as hook, behind(tmp_path) as (hub, server):
        server.length = timedelta(hours=1)
        registration = {"json": {"url": hook.url}, "headers": {"Authorization": f"Bearer {KEY}"}}
        async with hub.http.put(f"{hub.url}/v2/notification/callback", **registration) as answer:
            assert answer.status == 204, await answer.text()
        job = (await hub.ask("PATCH", "thing/1?is_async=true", {"size": 1}, HOST)).json["id"]
        await server.until(lambda: bool(server.jobs))
        server.end(next(iter(server.jobs)), response_status="200", response_body={"size": 1})
        heard: list[dict[str, Any]] = []

        async def listen() -> None:
            while not heard:
                heard.extend((await hook.next()).json.get("async-responses", ()))

        listening = asyncio.create_task(listen())
        await passing(hub, listening.done)
        assert [(item["id"], item["status"]) for item in heard] == [(job, 200)]
