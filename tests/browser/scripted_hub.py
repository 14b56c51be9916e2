"""A hub whose stream says what a test wants: for the moments that a real one would need hours or a bad day for."""

from __future__ import annotations

import json
import mimetypes
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

DASHBOARD = Path(__file__).parents[2] / "hub" / "dashboard"
FRAME_LIMIT = 10.0


class ScriptedHub:
    """Serves the page's own files and plays one script per connection, in turn; the last is repeated.

    A script is called with the connection after `welcome` and the client's `subscribe`; when it returns, the
    connection is closed with the code that it returned. `subscribes` keeps what clients asked for.
    """

    def __init__(self, *scripts: Callable[[Stream], int]) -> None:
        self._scripts = list(scripts)
        self.subscribes: queue.Queue[dict[str, Any]] = queue.Queue()
        self.me: list[tuple[int, dict[str, str]]] = []
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._server = serve(
            self._play,
            "127.0.0.1",
            0,
            process_request=self._answer,
            select_subprotocol=lambda _, offered: next((word for word in offered if word == "hub.v1.json"), None),
            compression=None,
        )
        self.url = f"http://127.0.0.1:{self._server.socket.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None and self._thread is not None
        self._server.shutdown()
        self._thread.join()

    def asked(self) -> dict[str, Any]:
        """The next `subscribe` frame of a client."""
        return self.subscribes.get(timeout=FRAME_LIMIT)

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.split("?")[0]
        if path == "/v1/stream":
            return None
        if path == "/v1/me":
            status, headers = self.me.pop(0) if len(self.me) > 1 else (self.me or [(200, {})])[0]
            me = {"account": "a", "application": "a", "scopes": ["call", "listen"], "limits": {}}
            return _response(status, "application/json", json.dumps(me).encode(), headers)
        file = DASHBOARD / (path.lstrip("/") or "index.html")
        if not file.is_file():
            return _response(404, "application/json", b"{}")
        return _response(200, mimetypes.guess_type(file.name)[0] or "text/plain", file.read_bytes())

    def _play(self, connection: ServerConnection) -> None:
        stream = Stream(connection)
        stream.say(type="welcome", version="1", limits={})
        self.subscribes.put(stream.hear("subscribe"))
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        connection.close(script(stream))


class Stream:
    """One connection of a client, in frames."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    def say(self, **members: Any) -> None:
        self._connection.send(json.dumps(members))

    def confirm(self, offset: int = 0, epoch: str = "e1") -> None:
        self.say(type="subscribed", channel="a/default", epoch=epoch, offset=offset)

    def event(self, offset: int, epoch: str = "e1") -> None:
        item = {"id": f"r{offset}", "status": 200, "payload": "", "call-id": f"c{offset}", "device": "d"}
        self.say(
            type="message", channel="a/default", epoch=epoch, offset=offset, at="2026-01-01T00:00:00.000Z",
            **{"async-responses": [item]},
        )  # fmt: skip

    def hear(self, kind: str) -> dict[str, Any]:
        """The next frame of a kind; others are passed over."""
        while True:
            frame: dict[str, Any] = json.loads(self._connection.recv(timeout=FRAME_LIMIT))
            if frame["type"] == kind:
                return frame

    def until_it_leaves(self) -> int:
        """Wait for the client to close."""
        for _ in self._connection:
            pass
        return 1000


def _response(status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> Response:
    # One request per connection: websockets' server is no web server and closes after each answer.
    told = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close", **(headers or {})})
    return Response(status, "", told, body)
