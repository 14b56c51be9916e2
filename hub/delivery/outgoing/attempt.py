"""One attempt at one delivery: a signed POST to a vetted address, over within its time, judged by its status alone."""

from __future__ import annotations

import aiohttp
import anyio

from hub.core.limits import Limits
from hub.delivery.outgoing.body import CONTENT_TYPE, Bodies
from hub.delivery.outgoing.client import OPTIONS, BrokenConnection, exactly, read_some
from hub.delivery.outgoing.guard import NotAllowedAddress
from hub.delivery.outgoing.retry import Result, Tried, judged
from hub.delivery.outgoing.secret import CallbackSecrets
from hub.delivery.outgoing.signing import message_id, signature_headers
from hub.model.delivery import Delivery
from hub.model.errors import NotFound
from hub.model.event import Event
from hub.ports.clock import Clock


class Attempts:
    """Makes attempts with one session."""

    def __init__(
        self, session: aiohttp.ClientSession, clock: Clock, limits: Limits, secrets: CallbackSecrets, bodies: Bodies
    ) -> None:
        self._session = session
        self._clock = clock
        self._limits = limits
        self._secrets = secrets
        self._bodies = bodies

    async def make(self, delivery: Delivery, event: Event) -> Tried:
        """Send the event to the delivery's URL. Raises StorageFailed where a secret had to be made and could not."""
        try:
            secrets = await self._secrets.signing(delivery.channel.partition("/")[0])
        except NotFound:
            return Tried(Result.GONE, "the application is disabled")
        body = self._bodies.render(delivery.view, event)
        id = message_id(event.epoch, event.offset)
        headers = {"Content-Type": CONTENT_TYPE, **signature_headers(secrets, id, self._clock.now(), body)}
        return await self._bounded(str(delivery.url), body, headers)

    async def _bounded(self, url: str, body: bytes, headers: dict[str, str]) -> Tried:
        limit = self._limits.callback_time.total_seconds()
        tried = Tried(Result.FAILED, f"no answer within {limit:g} s")
        with anyio.CancelScope() as scope:
            timer = self._clock.call_at(self._clock.monotonic() + limit, scope.cancel)
            try:
                async with self._session.post(exactly(url), data=body, headers=headers, **OPTIONS) as response:
                    # The head decides; a body that never ends, or breaks off, changes nothing about that.
                    tried = judged(response.status, response.headers.get("Retry-After"), self._clock.now())
                    await read_some(response)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                if tried.error.startswith("no answer"):
                    tried = Tried(Result.FAILED, why(error))
            finally:
                timer.cancel()
        return tried


def why(error: Exception) -> str:
    """What went wrong with a connection, in words that hold nothing of the URL."""
    if isinstance(error, aiohttp.ClientConnectorError):
        inner = error.os_error
        if isinstance(inner, NotAllowedAddress):
            return "the address is not allowed"
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return "the host cannot be found"
        return "TLS failed" if isinstance(error, aiohttp.ClientSSLError) else "no connection"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "TLS failed"
    if isinstance(error, NotAllowedAddress):
        return "the address is not allowed"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, BrokenConnection | aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | OSError):
        return "the connection broke"
    return "no proper answer"
