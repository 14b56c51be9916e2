"""A way around for an SDK's connections: its next long poll can be made to arrive late, or all of them be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

PATIENCE = 15.0
POLL = b"GET /v2/notification/pull"
DELETE = b"DELETE /v2/notification/pull"
Look = Callable[[bytes, threading.Event], None]


class Detour:
    """Forwards every connection to a port of loopback. After `hold_polls` the next polls wait here until a DELETE of
    the channel has been answered; `held` is set once one waits."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._whole = True
        self.held = threading.Event()
        self._deleted = threading.Event()
        self._deleted.set()
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A thread that waits in `accept` is not woken by a close.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._listener.close()
        self._end()

    def cut(self) -> None:
        """End every connection, and each that comes until `mend`."""
        self._whole = False
        self._end()

    def mend(self) -> None:
        """Let connections through again."""
        self._whole = True

    def _end(self) -> None:
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def hold_polls(self) -> None:
        """Let the polls that come from now on wait."""
        self.held.clear()
        self._deleted.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._whole:
                    near.close()
                    continue
                far = socket.create_connection(self._to)
                self._sockets += [near, far]
                deleting = threading.Event()
                for way in ((near, far, self._there), (far, near, self._back)):
                    threading.Thread(target=self._forward, args=(*way, deleting), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, look: Look, deleting: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                look(data, deleting)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def _there(self, data: bytes, deleting: threading.Event) -> None:
        if data.startswith(DELETE):
            deleting.set()
        elif data.startswith(POLL) and not self._deleted.is_set():
            self.held.set()
            self._deleted.wait(PATIENCE)

    def _back(self, data: bytes, deleting: threading.Event) -> None:
        if deleting.is_set():
            deleting.clear()
            self._deleted.set()
