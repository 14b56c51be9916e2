"""`python -m bench.coap.server adapter|aiocoap --fd N`: one of the two, with the same small HTTP door beside it.

`GET /coap` tells the UDP port. `POST /exchanges` with `{"count", "window", "ports"}` reads that many times, the devices
in turn, and tells how many answers were lost or wrong; so the work begins in the server, as it does in a hub, and what
the door costs is one request for all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.lwm2m.adapter import LwM2MAdapter
from adapters.lwm2m.settings import LwM2MSettings
from bench.coap.farm import HOST, PATH, VALUE
from hub.ports.adapter import Admission, AdmissionRefused, DeviceEvent, DeviceRequest
from hub.ports.clock import SystemClock

One = Callable[[int, list[int]], Awaitable[bytes]]
"""Reads from one device, counted round; returns the payload."""


class _Context:
    """A hub that holds everything at once and forgets it."""

    name = "bench"

    def __init__(self) -> None:
        self.settings: Mapping[str, Any] = {"account": "bench"}
        self.clock = SystemClock()
        self._tasks: set[asyncio.Task[None]] = set()

    def emit(self, event: DeviceEvent) -> bool:
        return True

    async def accept(self, event: DeviceEvent) -> None:
        return None

    async def admit(self, kind: str, identity: str, proof: str | bytes | None) -> Admission | AdmissionRefused:
        return Admission(identity, "bench", identity)

    def spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


@asynccontextmanager
async def adapter() -> AsyncIterator[tuple[int, One]]:
    """The adapter, spoken to as the hub's core does."""
    ctx = _Context()
    made = LwM2MAdapter(
        LwM2MSettings(port=0, open=True, registrations_per_second=100_000, registration_burst=1_000_000)
    )
    await made.start(ctx)  # type: ignore[arg-type]

    async def one(number: int, ports: list[int]) -> bytes:
        device = f"bench-{number % len(ports)}"
        deadline = ctx.clock.monotonic() + 30
        return (await made.call(DeviceRequest(f"c{number}", device, "GET", PATH, deadline, idempotent=True))).payload

    try:
        yield made.health()["port"], one
    finally:
        await made.stop(1)


@asynccontextmanager
async def aiocoap() -> AsyncIterator[tuple[int, One]]:
    """aiocoap doing the same: a resource that keeps who registered, and a client that reads."""
    import aiocoap as library
    from aiocoap import resource as resources

    kept: dict[str, tuple[Any, bytes]] = {}

    class Registrations(resources.Resource):
        async def render_post(self, request: Any) -> Any:
            name = next(piece for piece in request.opt.uri_query if piece.startswith("ep="))
            kept[name] = (request.remote, request.payload)
            return library.Message(code=library.CREATED, location_path=("rd", name))

    site = resources.Site()
    site.add_resource(["rd"], Registrations())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    context = await library.Context.create_server_context(site, bind=(HOST, port), transports=["udp6"])

    async def one(number: int, ports: list[int]) -> bytes:
        uri = f"coap://{HOST}:{ports[number % len(ports)]}{PATH}"
        message = library.Message(code=library.GET, uri=uri)
        payload: bytes = (await context.request(message, handle_blockwise=False).response).payload
        return payload

    try:
        yield port, one
    finally:
        await context.shutdown()


KINDS: dict[str, Callable[[], AbstractAsyncContextManager[tuple[int, One]]]] = {"adapter": adapter, "aiocoap": aiocoap}


def door(port: int, one: One) -> Starlette:
    """The HTTP side."""
    done = 0

    async def ready(request: Request) -> Response:
        return Response(status_code=200)

    async def coap(request: Request) -> Response:
        return JSONResponse({"port": port})

    async def exchanges(request: Request) -> Response:
        nonlocal done
        asked = await request.json()
        numbers, ports = iter(range(done, done + asked["count"])), asked["ports"]
        done += asked["count"]

        async def work() -> int:
            bad = 0
            for number in numbers:
                bad += await one(number, ports) != VALUE
            return bad

        return JSONResponse({"lost": sum(await asyncio.gather(*(work() for _ in range(asked["window"]))))})

    told = [Route("/readyz", ready), Route("/coap", coap)]
    return Starlette(routes=[*told, Route("/exchanges", exchanges, methods=["POST"])])


async def serve(kind: str, listening: socket.socket) -> None:
    """Serve until a signal."""
    async with KINDS[kind]() as (port, one):
        config = uvicorn.Config(door(port, one), access_log=False, lifespan="off", log_level="warning")
        await uvicorn.Server(config).serve([listening])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("--fd", type=int, required=True)
    given = parser.parse_args()
    uvloop.run(serve(given.kind, socket.socket(fileno=given.fd)))


if __name__ == "__main__":
    main()
