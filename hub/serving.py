"""A composed hub on listening sockets, from the first connection to the last: uvicorn, and a drain that comes first.

The drain starts in the handler of the signal, while the server still answers: new calls get their 503,
polls their 204, sockets their 1012. Only then the server itself goes down.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
import ssl
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import uvicorn

from hub.app import App
from hub.core.limits import Limits
from hub.model.errors import CannotListen
from hub.server.http import http_protocol
from hub.server.websocket import websocket_protocol

SYSTEMD_FIRST_FD = 3
BACKLOG = 4096
HANDSHAKE, HANDSHAKE_END = 10.0, 5.0

Secured = tuple[socket.socket, ssl.SSLContext]
"""A listening socket and the TLS that it speaks."""


def bind(host: str, port: int, backlog: int = BACKLOG) -> socket.socket:
    """A listening socket at exactly this place. Raises CannotListen."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise CannotListen(f"cannot listen on {host}: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise CannotListen(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return listener


def bind_next(host: str, first: int, tries: int = 100) -> socket.socket:
    """A listening socket at the first free port from `first` on. Raises CannotListen when there is none."""
    for port in range(first, min(first + tries, 65536)):
        try:
            return bind(host, port)
        except CannotListen as error:
            last = error
    raise last


def held_outside(fd: int | None, environ: dict[str, str] | os._Environ[str]) -> list[socket.socket]:
    """The listening sockets that somebody else holds: `--fd N`, else what systemd passes; empty when there are none.

    Raises CannotListen for a descriptor that is no listening socket.
    """
    fds = [fd] if fd is not None else []
    if fd is None and environ.get("LISTEN_PID") == str(os.getpid()):
        count = environ.get("LISTEN_FDS", "0")
        fds = list(range(SYSTEMD_FIRST_FD, SYSTEMD_FIRST_FD + int(count))) if count.isdigit() else []
    return [_listening(number) for number in fds]


def _listening(fd: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=fd)
        accepting = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise CannotListen(f"file descriptor {fd} is no socket: {error.strerror}") from None
    if not accepting:
        listener.detach()
        raise CannotListen(f"file descriptor {fd} is a socket that does not listen")
    return listener


def address(scheme: str, listener: socket.socket) -> str:
    """Where a listening socket is, as a URL that can be copied; `unix:<path>` for one in the file system."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    return f"{scheme}://[{name[0]}]:{name[1]}" if ":" in name[0] else f"{scheme}://{name[0]}:{name[1]}"


def raise_file_limit() -> int:
    """Let this process open as many files as it may (soft limit to hard limit); returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Serving(uvicorn.Server):
    """The server of one hub. `outside`: the listening socket is held by somebody else, so it is let go at once when
    the drain begins; those who connect meanwhile wait in its queue for the next process."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: App,
        ready: Callable[[], None],
        *,
        outside: bool = False,
        tls: Sequence[Secured] = (),
    ) -> None:
        super().__init__(config)
        self._tls = tls
        self._hub_app = app
        self._ready = ready
        self._outside = outside
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; tells `ready` once connections are answered."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        for listener, context in self._tls:
            self.servers.append(
                await self._loop.create_server(
                    self._protocol,
                    sock=listener,
                    ssl=context,
                    backlog=self.config.backlog,
                    ssl_handshake_timeout=HANDSHAKE,
                    ssl_shutdown_timeout=HANDSHAKE_END,
                )
            )
        self._ready()

    def _protocol(self) -> asyncio.Protocol:
        """As uvicorn makes it for its own sockets, of which all speak TLS or none."""
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the drain, a second one ends it. The process then exits by itself, with 0: the
        signal is not kept to be raised again."""
        if self._loop is None:
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self.leave)

    def leave(self) -> None:
        """Begin to go down; a second call hurries."""
        if self._leaving is None:
            self._leaving = asyncio.get_running_loop().create_task(self._leave(), name="drain")
        else:
            self._leaving.cancel()
            self.force_exit = True
            self.should_exit = True

    async def _leave(self) -> None:
        try:
            if self._outside:
                for server in self.servers:
                    server.close()
            await self._hub_app.drain()
        finally:
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, with the drain seen to its end."""
        if self._leaving is not None:
            await asyncio.wait([self._leaving])
        await super().shutdown(sockets)


def configured(app: App, limits: Limits) -> uvicorn.Config:
    """How uvicorn runs for us: our two protocol classes, no compression, no proxies believed, no logging of its own."""
    return uvicorn.Config(
        app.asgi,
        http=http_protocol(limits, app.worded),
        ws=websocket_protocol(limits, app.worded),
        ws_max_size=limits.message,
        ws_ping_interval=limits.ping.total_seconds(),
        ws_ping_timeout=limits.pong.total_seconds(),
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=app.settings.server.backlog,
        timeout_keep_alive=int(limits.keep_alive.total_seconds()),
        timeout_graceful_shutdown=1,
    )


async def serve(
    app: App,
    sockets: Sequence[socket.socket],
    ready: Callable[[], None],
    *,
    outside: bool = False,
    tls: Sequence[Secured] = (),
) -> None:
    """Serve until a signal (SIGTERM, SIGINT) has been obeyed. Raises what `App.running` raises, before `ready`."""
    everywhere = [*sockets, *(listener for listener, _ in tls)]
    app.guard.own_ports.update(
        listener.getsockname()[1] for listener in everywhere if listener.family != socket.AF_UNIX
    )
    # What a start reads stays: to look for rubbish among it meanwhile only makes the start longer.
    gc.disable()
    try:
        async with app.running():
            # Nor need the collector look at it again with every full pass.
            gc.collect()
            gc.freeze()
            gc.enable()
            await Serving(configured(app, app.limits), app, ready, outside=outside, tls=tls).serve(list(sockets))
    finally:
        gc.enable()


def run(main: Callable[[], Any]) -> None:
    """Run a coroutine function on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())


