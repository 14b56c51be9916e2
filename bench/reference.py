"""The reference: the plain Starlette loop that one would write first.

POST -> 202, then `await ws.send_text` to every subscriber of the channel, in memory, nothing durable, no
devices. Served by uvicorn with its own WebSocket class, uvloop and httptools, deflate and access log off: the
favourable settings. The message is encoded once per completion, which many first versions do not do; the
comparison shall not live from a weak opponent. Run as `python -m bench.reference --fd N`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


class Loop:
    """Channels are sets of sockets; a completion is what the POST carried, echoed."""

    def __init__(self, key: str) -> None:
        self._authorization = f"Bearer {key}"
        self._channels: dict[str, set[WebSocket]] = {}
        self._offsets: dict[str, int] = {}

    def routes(self) -> list[Route | WebSocketRoute]:
        """The same paths as the hub's, as far as the benchmark needs them."""
        return [
            Route("/readyz", self.ready),
            Route("/v1/devices/{device}/calls", self.native, methods=["POST"]),
            Route("/v2/device-requests/{device}", self.pelion, methods=["POST"]),
            Route("/dataService/devices/multiInvoke", self.many, methods=["PUT"]),
            WebSocketRoute("/v1/stream", self.stream),
            WebSocketRoute("/dataService/controlChannels/{channel}/stream", self.control_stream),
        ]

    async def ready(self, request: Request) -> Response:
        """Always, once it answers at all."""
        return Response(b"ready\n")

    async def native(self, request: Request) -> Response:
        """A call in the hub's native form."""
        if request.headers.get("authorization") != self._authorization:
            return Response(status_code=401)
        asked = orjson.loads(await request.body())
        channel = asked.get("channel", "default")
        offset = self._offsets.get(channel, 0)
        accepted = {"id": asked["ref"], "ref": asked["ref"], "channel": channel, "epoch": "0", "offset": offset}
        device = request.path_params["device"]
        push = BackgroundTask(self.push, channel, asked["ref"], asked.get("payload-b64", ""), device)
        return Response(orjson.dumps(accepted), 202, media_type="application/json", background=push)

    async def pelion(self, request: Request) -> Response:
        """A call in Pelion's form."""
        if request.headers.get("authorization") != self._authorization:
            return Response(status_code=401)
        asked = orjson.loads(await request.body())
        device, ref = request.path_params["device"], request.query_params["async-id"]
        push = BackgroundTask(self.push, "default", ref, asked.get("payload-b64", ""), device)
        return Response(status_code=202, background=push)

    async def many(self, request: Request) -> Response:
        """Many calls in EnOS's form."""
        if request.headers.get("authorization") != self._authorization:
            return Response(status_code=401)
        calls = orjson.loads(await request.body())["data"]
        answer = {"status": 0, "msg": "Success", "submsg": None, "data": [{**call, "status": 0} for call in calls]}
        tell = BackgroundTask(self.tell, calls)
        return Response(orjson.dumps(answer), media_type="application/json", background=tell)

    async def tell(self, calls: list[dict[str, Any]]) -> None:
        """The outcomes, one message each."""
        for call in calls:
            reply = {**call, "status": 0, "msg": "SUCCESS", "outputData": call["inputData"]}
            text = orjson.dumps({"data": [reply]}).decode("ascii")
            for listener in list(self._channels.get(call["controlChannelId"], ())):
                await listener.send_text(text)

    async def push(self, channel: str, ref: str, payload: str, device: str) -> None:
        """Tell every subscriber, one after the other."""
        offset = self._offsets[channel] = self._offsets.get(channel, 0) + 1
        answer = {"id": ref, "status": 200, "payload": payload, "ct": "text/plain", "call-id": ref, "device": device}
        message = {"type": "message", "channel": channel, "epoch": "0", "offset": offset, "async-responses": [answer]}
        text = orjson.dumps(message).decode("ascii")
        for listener in list(self._channels.get(channel, ())):
            await listener.send_text(text)

    async def control_stream(self, listener: WebSocket) -> None:
        """A control channel's own socket."""
        if listener.headers.get("authorization") != self._authorization:
            await listener.close(1008)
            return
        await listener.accept()
        listeners = self._channels.setdefault(listener.path_params["channel"], set())
        listeners.add(listener)
        try:
            while True:
                await listener.receive_text()
        except WebSocketDisconnect:
            pass  # The client went, which is how every subscription ends here.
        finally:
            listeners.discard(listener)

    async def stream(self, listener: WebSocket) -> None:
        """Subscribe to `?channel=` and stay until the client goes."""
        if listener.headers.get("authorization") != self._authorization:
            await listener.close(1008)
            return
        channel = listener.query_params["channel"]
        await listener.accept(subprotocol="hub.v1.json")
        await listener.send_text(json.dumps({"type": "welcome"}))
        listeners = self._channels.setdefault(channel, set())
        listeners.add(listener)
        try:
            await listener.send_text('{"type":"subscribed","channel":"' + channel + '"}')
            while True:
                await listener.receive_text()
        except WebSocketDisconnect:
            pass  # The client went, which is how every subscription ends here.
        finally:
            listeners.discard(listener)


def main() -> None:
    """Serve on the listening socket that was handed in."""
    arguments = argparse.ArgumentParser(prog="bench.reference")
    arguments.add_argument("--fd", type=int, required=True)
    descriptor = arguments.parse_args().fd
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    config = uvicorn.Config(
        Starlette(routes=Loop(os.environ["BENCH_KEY"]).routes()),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="warning",
        access_log=False,
        backlog=4096,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    main()
