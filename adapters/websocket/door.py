"""The door: from the upgrade request to an admitted device, or to a refusal that tells a stranger nothing."""

from __future__ import annotations

import logging

import anyio
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from adapters.websocket.attendance import Attendance
from adapters.websocket.coding import Subprotocol
from adapters.websocket.frame import Bye, Hello
from adapters.websocket.inbound import parse
from adapters.websocket.session import FAREWELL
from adapters.websocket.settings import WebSocketSettings
from adapters.websocket.wire import encode
from hub.ports.adapter import AdapterContext, Admission, AdmissionRefused

log = logging.getLogger("hub.adapter.websocket")


class Door:
    """The ASGI application that devices dial."""

    def __init__(self, attendance: Attendance, settings: WebSocketSettings) -> None:
        self._attendance = attendance
        self._settings = settings
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; an ordinary HTTP request is told to upgrade."""
        if scope["type"] == "http":
            await PlainTextResponse("upgrade to a WebSocket\n", 426, {"Upgrade": "websocket"})(scope, receive, send)
            return
        if scope["type"] != "websocket":
            return
        socket = WebSocket(scope, receive, send)
        ctx = self._attendance.context
        refusal = (503, "not serving") if ctx is None else self._refusal(scope)
        if refusal is not None or ctx is None:
            await self._deny(socket, *(refusal or (503, "not serving")))
            return
        coding = _coding(scope)
        assert coding is not None
        self.open += 1
        try:
            await socket.accept(subprotocol=coding.value)
            await self._serve(socket, coding, ctx)
        except WebSocketDisconnect:
            pass  # it left before it was let in
        finally:
            self.open -= 1

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request may not be upgraded, as HTTP status and text."""
        headers = Headers(scope=scope)
        root = scope.get("root_path", "")
        path = scope["path"].removeprefix(root).rstrip("/") if root else scope["path"].rstrip("/")
        if path not in ("", self._settings.mount):
            return 404, "not found"
        if b"ak_" in scope.get("query_string", b""):
            return 400, "a key does not belong into an address"
        keys = headers.getlist("authorization")
        if len(keys) > 1:
            return 400, "one Authorization header, please"
        origin = headers.get("origin")
        if origin is not None and not self._own(origin, headers.get("host", "")):
            return 403, "origin not allowed"
        if _coding(scope) is None:
            return 400, f"offer a subprotocol: {', '.join(coding.value for coding in Subprotocol)}"
        if self.open >= self._settings.connections:
            return 503, "too many connections"
        return None

    def _own(self, origin: str, host: str) -> bool:
        own = host and origin in (f"http://{host}", f"https://{host}")
        return bool(own) or origin in self._settings.origins

    async def _deny(self, socket: WebSocket, status: int, text: str) -> None:
        if "websocket.http.response" in socket.scope.get("extensions", {}):
            headers = {"Retry-After": "5"} if status == 503 else None
            await socket.send_denial_response(PlainTextResponse(text + "\n", status, headers))
        else:
            await socket.close(1008)

    async def _serve(self, socket: WebSocket, coding: Subprotocol, ctx: AdapterContext) -> None:
        refused: list[tuple[int, str]] = []
        hello = await self._hello(socket, coding, ctx, refused)
        if hello is not None:
            verdict = await self._admit(socket, hello, ctx)
            if isinstance(verdict, Admission):
                await self._attendance.serve(socket, coding, hello, verdict)
                return
            log.info("a device was refused: %s", verdict.reason)
            refused.append((1008, "not admitted"))
        if refused:
            await _farewell(socket, coding, ctx, *refused[0])

    async def _hello(
        self, socket: WebSocket, coding: Subprotocol, ctx: AdapterContext, refused: list[tuple[int, str]]
    ) -> Hello | None:
        """The first frame, if it comes in time and is what it should be."""
        until = ctx.clock.monotonic() + self._settings.hello.total_seconds()
        with anyio.CancelScope() as waiting:
            timer = ctx.clock.call_at(until, waiting.cancel)
            try:
                message = await socket.receive()
            finally:
                timer.cancel()
        if waiting.cancelled_caught:
            refused.append((1002, "no HELLO in time"))
            return None
        if message["type"] == "websocket.disconnect":
            return None

        def close(code: int, text: str) -> None:
            refused.append((code, text))

        frame = parse(coding, self._settings.max_frame, message.get("bytes"), message.get("text"), close)
        if frame is None or isinstance(frame, Hello):
            return frame
        refused.append((1002, "the first frame is a HELLO"))
        return None

    @staticmethod
    async def _admit(socket: WebSocket, hello: Hello, ctx: AdapterContext) -> Admission | AdmissionRefused:
        """Ask the hub, with the strongest thing that the device showed."""
        header = socket.headers.get("authorization")
        if "secret" in hello.auth:
            return await ctx.admit("secret", hello.dev, hello.auth["secret"])
        if "key" in hello.auth:
            return await ctx.admit("key", hello.dev, hello.auth["key"])
        if header is not None:
            scheme, _, key = header.strip().partition(" ")
            return await ctx.admit("key", hello.dev, key.strip() if scheme.lower() == "bearer" and key else header)
        return await ctx.admit("name", hello.dev, None)


def _coding(scope: Scope) -> Subprotocol | None:
    known = {coding.value: coding for coding in Subprotocol}
    return next((known[offered] for offered in scope.get("subprotocols", ()) if offered in known), None)


async def _farewell(socket: WebSocket, coding: Subprotocol, ctx: AdapterContext, code: int, text: str) -> None:
    with anyio.CancelScope() as scope:
        limit = ctx.clock.call_at(ctx.clock.monotonic() + FAREWELL, scope.cancel)
        try:
            data = encode(Bye(code, text), coding)
            await (socket.send_bytes(data) if coding.binary else socket.send_text(data.decode()))
            await socket.close(code, text)
        except RuntimeError:
            pass  # it left first
        finally:
            limit.cancel()
