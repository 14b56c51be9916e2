"""A job upstream behind the hub: what asking once for everybody saves, and how long after its end a job is told.

No CPU and no server to compare with, so this is no `Row` of the common table but an account beside it. First a hub in a
process of its own takes the jobs on and pushes their ends to a listener; then as many dashboards as are asked for watch
the same jobs for themselves, as politely as the hub does (the same questioner, many ids in a request). The upstream
counts the questions. Delays are from the moment at which the upstream has the end to the frame at the listener, on one
clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from adapters.http.adapter import HttpAdapter, create
from adapters.http.double import CALL_ID, Heard, Kept, Server
from adapters.http.note import Note
from bench.process import server_process
from bench.row import Account, Faulty, Row
from hub.ports.adapter import Admission, AdmissionRefused, DeviceEvent, DeviceRequest
from hub.ports.clock import SystemClock

ROWS: list[Row] = []
KEY = "ak_bench_upstream_0123456789"
_CONFIG = """
[server]
port = {port}
[storage]
data_dir = "data"
[accounts.bench]
[applications.bench]
account = "bench"
[keys.bench]
application = "bench"
scopes = ["admin"]
key = "{key}"
[adapters.arrays]
kind = "http"
jobs = "powerstore"
call_id = "{call_id}"
inflight = 20
[adapters.arrays.upstreams.one]
url = "{url}"
[devices.array]
account = "bench"
adapter = "arrays"
address = "one"
"""
_START_WITHIN = 30.0


class _Upstream:
    """The upstream of a run: it takes changes as jobs of the given lengths and counts what it is asked."""

    def __init__(self, lengths: list[timedelta]) -> None:
        self.server = Server()
        self.server.clock = SystemClock()
        self.server.script = self._script
        self.of_call: dict[str, Kept] = {}
        self.questions = 0
        self._lengths = iter(lengths)

    async def _script(self, heard: Heard) -> bool:
        self.server.heard.clear()  # nothing is looked at afterwards
        if heard.method == "GET":
            self.questions += 1
            return False
        kept = self.of_call[heard.call_id] = self.server.make(heard, next(self._lengths))
        await heard.json(202, {"id": kept.id})
        return True


async def through_the_hub(lengths: list[timedelta]) -> dict[str, float]:
    """Questions and delays (ms) when a hub asks for everybody. Raises Faulty when an end was lost or told twice."""
    upstream = _Upstream(lengths)
    await upstream.server.open()
    port = Server().port
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        config = folder / "hub.toml"
        config.write_text(_CONFIG.format(port=port, key=KEY, call_id=CALL_ID, url=upstream.server.url))
        command = [sys.executable, "-m", "hub.cli", "serve", "--config", str(config)]
        async with server_process(command, os.environ, folder / "said"):
            headers = {"Authorization": f"Bearer {KEY}"}
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}/", headers=headers) as session:
                await _serving(session)
                delays = await _watched(session, upstream, len(lengths))
    await upstream.server.close()
    return {
        "questions": float(upstream.questions),
        "median_ms": statistics.median(delays),
        "p99_ms": sorted(delays)[int(len(delays) * 0.99)],
    }


async def _serving(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(_START_WITHIN):
        while True:
            try:
                async with session.get("readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


async def _watched(session: aiohttp.ClientSession, upstream: _Upstream, jobs: int) -> list[float]:
    delays: dict[str, float] = {}
    clock = SystemClock()
    async with session.ws_connect("v1/stream?channel=default", protocols=("hub.v1.json",)) as listener:
        submits = asyncio.gather(*(_submit(session, number) for number in range(jobs)))
        while len(delays) < jobs:
            message = await listener.receive(timeout=600)
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise Faulty(f"the listener was closed: {message}")
            now = clock.now()
            for item in json.loads(message.data).get("async-responses", []):
                call = item["call-id"]
                if call in delays or item["status"] != 200:
                    raise Faulty(f"the end of a job was told twice, or wrongly: {item}")
                delays[call] = (now - upstream.of_call[call].ends_at) / timedelta(milliseconds=1)
        await submits
    return list(delays.values())


async def _submit(session: aiohttp.ClientSession, number: int) -> None:
    body = {"method": "PATCH", "uri": f"/volume/{number}", "payload-b64": "e30="}
    async with session.post("v1/devices/array/calls", json=body) as answer:
        if answer.status != 202:
            raise Faulty(f"a call was refused: {answer.status} {await answer.text()}")


class _Dashboard:
    """Who watches for himself: what a hub is to the adapter, and no more."""

    name = "dashboard"

    def __init__(self) -> None:
        self.settings: Mapping[str, Any] = {}
        self.clock = SystemClock()
        self._tasks: set[asyncio.Task[None]] = set()

    def emit(self, event: DeviceEvent) -> bool:
        return True

    async def accept(self, event: DeviceEvent) -> None:
        return None

    async def admit(self, kind: str, identity: str, proof: str | bytes | None) -> Admission | AdmissionRefused:
        return AdmissionRefused("nobody dials in")

    async def checkpoint(self, call_id: str, note: bytes) -> float:
        return self.clock.monotonic() + 3600

    def secret(self, ref: str) -> bytes:
        raise KeyError(ref)

    def spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def each_for_himself(lengths: list[timedelta], dashboards: int) -> int:
    """How many questions the upstream gets when everybody asks."""
    upstream = _Upstream([])
    await upstream.server.open()
    request = Heard("PATCH", "/api/volume/1", {}, b"", None)  # type: ignore[arg-type]
    jobs = [upstream.server.make(request, length).id for length in lengths]
    settings = {"jobs": "powerstore", "upstreams": {"one": {"url": upstream.server.url}}}
    adapters: list[HttpAdapter] = []
    for _ in range(dashboards):
        adapter = create(settings)
        await adapter.start(_Dashboard())
        adapters.append(adapter)
    deadline = SystemClock().monotonic() + 3600
    await asyncio.gather(
        *(
            adapter.resume(DeviceRequest(job, "one", "PATCH", "/volume/1", deadline), Note(job).encoded())
            for adapter in adapters
            for job in jobs
        )
    )
    for adapter in adapters:
        await adapter.stop(1)
    await upstream.server.close()
    return upstream.questions


async def run(jobs: int, dashboards: int, longest: float, seed: int) -> dict[str, float]:
    """All figures of a run."""
    chance = random.Random(seed)
    lengths = [timedelta(seconds=chance.uniform(0.5, longest)) for _ in range(jobs)]
    hub = await through_the_hub(lengths)
    theirs = await each_for_himself(lengths, dashboards)
    return {**hub, "dashboards": float(theirs), "saved": 1 - hub["questions"] / theirs}


async def _account(quick: bool) -> dict[str, float]:
    jobs, longest = (40, 4.0) if quick else (200, 30.0)
    return {"jobs": float(jobs), "longest": longest, "who": 100.0, **await run(jobs, 100, longest, seed=1)}


def _lines(told: dict[str, float]) -> list[str]:
    return [
        f"{told['jobs']:.0f} jobs of 0.5 to {told['longest']:g} s, none lost, none told twice",
        f"questions to the upstream: {told['questions']:.0f} by the hub, {told['dashboards']:.0f} by {told['who']:.0f} "
        f"dashboards that ask for themselves; {told['saved']:.1%} saved",
        f"from the end at the upstream to the push: median {told['median_ms']:.0f} ms, p99 {told['p99_ms']:.0f} ms",
    ]


ACCOUNTS = [
    Account("upstream", "jobs of an upstream that has to be asked, watched by many", _account, _lines),
]
