"""One upstream: its address, its connections, who the hub is there, whether it answers.

Sockets lead to the host and port of its address and nowhere else: redirects are not followed, no proxy of the
environment is used, and a path can name nothing but a path. Questions share connections that are kept open; a change
gets a connection of its own, because one that its server has just closed would leave open whether the change was heard.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import anyio
from yarl import URL

from adapters.http.breaker import Breaker
from adapters.http.coding import Body
from adapters.http.resolver import Resolver
from adapters.http.settings import HttpSettings, UpstreamSettings
from adapters.http.sign_in import SignIn
from adapters.http.wire import Answer, skew
from hub.ports.adapter import AdapterContext, Delivery, DeviceTimeout, NotConnected, Unreachable

KEPT = 15.0
LOOK = 5.0
"""Seconds for which the first looks for one that is away wait at most; later ones as long as the pauses between."""
PATIENCE = 0.5
"""Seconds for which nothing must have been heard before that says something of the upstream."""
READS = frozenset({"GET", "HEAD"})
_FOREVER = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


class Upstream:
    """Asks one upstream. `changed` is called when it goes away or comes back."""

    def __init__(
        self, settings: UpstreamSettings, more: HttpSettings, ctx: AdapterContext, changed: Callable[[Upstream], None]
    ) -> None:
        self.name = settings.name
        self.settings = settings
        self.base = settings.url if settings.url.raw_path.endswith("/") else settings.url / ""
        self.skew: float | None = None
        self.sign_in = SignIn(settings, ctx.secret, ctx.clock, self._begin_session)
        self.breaker = Breaker(more.failures, self._went, self._came)
        self.requests = 0
        self._more = more
        self._ctx = ctx
        self._changed = changed
        self.stopping = False
        self._scopes: set[anyio.CancelScope] = set()
        self._looking: asyncio.Task[None] | None = None
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    def open(self) -> None:
        """Make the sessions; nothing is connected yet. Raises ValueError for what its settings name in vain."""
        self.sign_in.check()
        trust = self._trust()
        for reads in (True, False):
            connector = aiohttp.TCPConnector(
                limit=0,
                ssl=trust,
                resolver=Resolver(),
                use_dns_cache=False,
                **({"keepalive_timeout": KEPT} if reads else {"force_close": True}),
            )
            marks = aiohttp.TraceConfig()
            marks.on_connection_create_end.append(_mark)
            marks.on_connection_reuseconn.append(_mark)
            self._sessions[reads] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "asyncid-hub", "Accept-Encoding": "identity"},
                trust_env=False,
                auto_decompress=False,
                timeout=_FOREVER,
                trace_configs=[marks],
                middlewares=() if reads else (_once,),
            )

    async def close(self) -> None:
        """Fail what is under way and close the connections."""
        self.stopping = True
        for scope in list(self._scopes):
            scope.cancel()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        for session in self._sessions.values():
            await session.close()

    def url(self, path: str) -> URL:
        """The address of a path below the base, or of one from the root of the server."""
        text = path if path.startswith("/") else self.base.raw_path + path
        return URL(f"{self.base.origin()}{text}", encoded=True)

    async def ask(
        self,
        method: str,
        path: str,
        until: float,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        most: int | None = None,
    ) -> Answer:
        """One request, signed in; a session that is refused is begun anew once.

        Raises Unreachable (no connection: NOT_SENT), NotConnected (lost in the middle: MAYBE), DeviceTimeout.
        """
        shown = await self.sign_in.headers(until)
        answer = await self._once(method, path, until, {**(headers or {}), **shown}, body, most)
        if answer.status in (401, 403) and self.sign_in.renewable:
            # What was refused was not done, so it may be said again.
            shown = await self.sign_in.renew(shown, until)
            answer = await self._once(method, path, until, {**(headers or {}), **shown}, body, most)
        self.sign_in.heard(answer.headers)
        return answer

    async def rest(self, until: float) -> None:
        """Wait to monotonic `until`. Raises NotConnected (MAYBE) when the hub stops."""
        with self.bound(float("inf")):
            await self._ctx.clock.sleep_until(until)

    @contextmanager
    def bound(self, until: float) -> Iterator[None]:
        """A block that ends by monotonic `until`, then with DeviceTimeout (MAYBE), and with NotConnected (MAYBE) when
        the hub stops."""
        if not self.stopping:
            with anyio.CancelScope() as scope:
                guard = None if until == float("inf") else self._ctx.clock.call_at(until, scope.cancel)
                self._scopes.add(scope)
                try:
                    yield
                    return
                finally:
                    self._scopes.discard(scope)
                    if guard is not None:
                        guard.cancel()
        if self.stopping:
            raise NotConnected("the hub is stopping", delivery=Delivery.MAYBE)
        raise DeviceTimeout("there was no turn in time", delivery=Delivery.MAYBE)

    async def look(self, until: float | None = None) -> None:
        """Ask for nothing, only to learn whether somebody answers, and what time it is there."""
        if until is None:
            until = self._ctx.clock.monotonic() + self._more.answer.total_seconds()
        await self._once("HEAD", "", until, {}, b"", None)

    async def _begin_session(self, headers: Mapping[str, str], until: float) -> Answer:
        bound = min(until, self._ctx.clock.monotonic() + self._more.answer.total_seconds())
        try:
            return await self._once("GET", self.settings.sign_in, bound, headers, b"", None)
        except (NotConnected, DeviceTimeout) as error:
            if isinstance(error, DeviceTimeout) and bound == until:
                raise DeviceTimeout("the sign-in took too long", delivery=Delivery.NOT_SENT) from error
            # The request for which it was done has not been sent.
            raise Unreachable(error.detail, delivery=Delivery.NOT_SENT) from error

    async def _once(
        self, method: str, path: str, until: float, headers: Mapping[str, str], body: bytes, most: int | None
    ) -> Answer:
        if self.stopping:
            raise NotConnected("the hub is stopping", delivery=Delivery.NOT_SENT)
        mark = SimpleNamespace(connected=False)
        began, answers = self._ctx.clock.monotonic(), self.breaker.answers
        self.requests += 1
        with anyio.CancelScope() as scope:
            guard = self._ctx.clock.call_at(until, scope.cancel)
            self._scopes.add(scope)
            try:
                return await self._exchange(method, self.url(path), headers, body, most, mark)
            finally:
                self._scopes.discard(scope)
                guard.cancel()
        delivery = Delivery.MAYBE if mark.connected else Delivery.NOT_SENT
        if self.stopping:
            raise NotConnected("the hub is stopping", delivery=delivery)
        waited = self._ctx.clock.monotonic() - began
        if not mark.connected or (waited >= PATIENCE and self.breaker.answers == answers):
            # Slow is not away: who was heard of meanwhile, by whatever request, is there.
            self.breaker.failed(silent=mark.connected)
        raise DeviceTimeout("no answer in time", delivery=delivery)

    async def _exchange(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes, most: int | None, mark: SimpleNamespace
    ) -> Answer:
        session = self._sessions[method in READS]
        try:
            async with session.request(
                method, url, headers=headers, data=body or None, allow_redirects=False, trace_request_ctx=mark,
                skip_auto_headers=("Content-Type",),
            ) as response:  # fmt: skip
                content, lack = await self._read(response, self._more.max_answer if most is None else most)
                answer = Answer(response.status, response.headers, content, lack)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self.breaker.failed()
            told = type(error).__name__
            if mark.connected:
                raise NotConnected(f"the connection was lost ({told})", delivery=Delivery.MAYBE) from error
            raise Unreachable(f"there is no connection ({told})", delivery=Delivery.NOT_SENT) from error
        self.breaker.answered()
        ahead = skew(answer.headers, self._ctx.clock.now())
        self.skew = self.skew if ahead is None else ahead
        return answer

    async def _read(self, response: aiohttp.ClientResponse, most: int) -> tuple[bytes, str]:
        """The body, or what is missing of it; what is not read to its end costs its connection."""
        body = Body(response.headers.get("Content-Encoding", ""), most)
        while chunk := await response.content.read(64 * 1024):
            if not body.add(chunk):
                response.close()
                break
        return body.content(), body.lack

    def _went(self) -> None:
        self._changed(self)
        if not self.stopping:
            self._looking = self._ctx.spawn(self._look_until_it_answers(), name=f"look for {self.name}")

    def _came(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None and looking is not asyncio.current_task():
            # It may rest for long yet; should the upstream go away anew, it is looked for from the beginning.
            looking.cancel()
        self._changed(self)

    async def _look_until_it_answers(self) -> None:
        clock, me = self._ctx.clock, asyncio.current_task()
        while self._looking is me and self.breaker.open and not self.stopping:
            await clock.sleep_until(clock.monotonic() + self.breaker.pause)
            if self.breaker.open and not self.stopping:
                try:
                    # One that hangs in this look may be well again before it would have to answer.
                    patience = min(self._more.answer.total_seconds(), max(LOOK, self.breaker.pause))
                    await self.look(clock.monotonic() + patience)
                except (Unreachable, NotConnected, DeviceTimeout):
                    self.breaker.looked_in_vain()

    def _trust(self) -> Any:
        tls = self.settings.tls
        if tls == "verify":
            return True
        if tls.startswith("sha256:"):
            return aiohttp.Fingerprint(bytes.fromhex(tls.removeprefix("sha256:").replace(":", "")))
        try:
            return ssl.create_default_context(cafile=tls)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"upstreams.{self.name}.tls: {tls} cannot be read: {error}") from None


class LostConnection(aiohttp.ClientError):
    """A connection broke after it was made."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """The library says a PUT or a DELETE again when its connection breaks. Whether that may be done is not its to know:
    under another name it leaves the failure alone."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise LostConnection(type(error).__name__) from error


async def _mark(session: aiohttp.ClientSession, context: Any, params: Any) -> None:
    """From here on bytes may have left."""
    mark = context.trace_request_ctx
    if mark is not None:
        mark.connected = True
