"""Who the hub is at an upstream: nobody, a name with its password on every request, a token, or a session.

A session is begun with the first request and begun anew when the upstream refuses it. A name that was refused is not
tried again for a while: systems lock accounts out.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping

import anyio

from adapters.http.settings import UpstreamSettings
from adapters.http.wire import Answer, cookies_of, plain
from hub.ports.adapter import Delivery, DeviceTimeout, Unreachable
from hub.ports.clock import Clock

TOKEN = "DELL-EMC-TOKEN"
REFUSED_FOR = 30.0

Ask = Callable[[Mapping[str, str], float], Awaitable[Answer]]


class SignInRefused(Unreachable):
    """The upstream does not know the hub by what it shows: waiting does not help, somebody has to see to it."""


class SignIn:
    """What a request carries to show who asks. `secret` looks a reference up; `ask` sends the sign-in itself, by a
    moment of the monotonic clock."""

    def __init__(
        self, settings: UpstreamSettings, secret: Callable[[str], bytes], clock: Clock, ask: Ask
    ) -> None:
        self._settings = settings
        self._secret = secret
        self._clock = clock
        self._ask = ask
        self._lock = asyncio.Lock()
        self._session: dict[str, str] | None = None
        self._token: str | None = None
        self._refused_until = 0.0
        self.refused = False

    def check(self) -> None:
        """Raises ValueError when a secret that the settings name is not there."""
        for key in ("password", "token"):
            reference = getattr(self._settings, key)
            try:
                self._looked_up(reference)
            except SignInRefused:
                raise ValueError(f"upstreams.{self._settings.name}.{key}: the secret is not there") from None

    async def headers(self, until: float) -> dict[str, str]:
        """What the next request carries. Raises CallError (NOT_SENT) when the sign-in fails, DeviceTimeout (NOT_SENT)
        when it is not done by monotonic `until`, whoever does it."""
        settings = self._settings
        if settings.token:
            return {"Authorization": f"Bearer {self._looked_up(settings.token)}"}
        if not settings.user:
            return {}
        if not settings.sign_in:
            return {"Authorization": self._basic()}
        if self._session is None:
            await self._my_turn(until)
            try:
                if self._session is None:
                    await self._begin(until)
            finally:
                self._lock.release()
        assert self._session is not None
        return {**self._session, **({} if self._token is None else {TOKEN: self._token})}

    @property
    def renewable(self) -> bool:
        """Whether a refusal may only mean that the session is over."""
        return bool(self._settings.sign_in)

    async def renew(self, shown: Mapping[str, str], until: float) -> dict[str, str]:
        """What to show after `shown` was refused: a new session, unless somebody has begun one meanwhile. Raises as
        `headers` does."""
        if self._session is not None and self._session.get("Cookie") == shown.get("Cookie"):
            self._session = None
        return await self.headers(until)

    def heard(self, headers: Mapping[str, str]) -> None:
        """Any answer may bring a newer token."""
        token = plain(headers.get(TOKEN))
        if token is not None and self._session is not None:
            self._token = token

    async def _my_turn(self, until: float) -> None:
        got = False
        with anyio.CancelScope() as scope:
            guard = self._clock.call_at(until, scope.cancel)
            try:
                got = await self._lock.acquire()
            finally:
                guard.cancel()
        if not got:
            raise DeviceTimeout("the sign-in took too long", delivery=Delivery.NOT_SENT)

    async def _begin(self, until: float) -> None:
        now = self._clock.monotonic()
        if now < self._refused_until:
            wait = self._refused_until - now
            raise SignInRefused("the sign-in was refused", delivery=Delivery.NOT_SENT, retry_after=wait)
        answer = await self._ask({"Authorization": self._basic()}, until)
        if answer.status in (401, 403):
            self.refused = True
            self._refused_until = now + REFUSED_FOR
            raise SignInRefused("the sign-in was refused", delivery=Delivery.NOT_SENT, retry_after=REFUSED_FOR)
        if not 200 <= answer.status < 300:
            raise Unreachable(f"the sign-in was answered with {answer.status}", delivery=Delivery.NOT_SENT)
        self.refused = False
        getall = getattr(answer.headers, "getall", None)
        cookies = cookies_of(getall("Set-Cookie", ()) if getall is not None else ())
        # Without a cookie there is no session: name and password go with every request then.
        shown = "; ".join(f"{name}={value}" for name, value in cookies.items())
        self._session = {"Cookie": shown} if shown else {"Authorization": self._basic()}
        self._token = plain(answer.headers.get(TOKEN))

    def _basic(self) -> str:
        text = f"{self._settings.user}:{self._looked_up(self._settings.password)}"
        return "Basic " + base64.b64encode(text.encode()).decode()

    def _looked_up(self, reference: str) -> str:
        # Asked for each time, so that a file that was replaced counts with the next sign-in.
        if reference.startswith(("env:", "file:")):
            try:
                return self._secret(reference).decode()
            except (KeyError, OSError, UnicodeDecodeError):
                raise SignInRefused("the secret is not there", delivery=Delivery.NOT_SENT) from None
        return reference
