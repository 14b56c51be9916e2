"""Requests of the native API over one aiohttp session: calls, keys, who am I."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import orjson

from hub.client.errors import ClientError, KeyRefused, Refused, Unreachable

REQUEST_TIMEOUT = 40.0
_TRIES = 4
_MOST_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """A call that the hub answers for; `epoch` and `offset` are the channel's position before its completion."""

    id: str
    ref: str
    channel: str
    epoch: str
    offset: int


class Client:
    """One hub, one key. An async context manager; proxies of the environment are not asked."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"authorization": f"Bearer {self.key}", "accept": "application/json"}
        self._session = aiohttp.ClientSession(
            headers=headers, trust_env=False, timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT, connect=10)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open session. Raises ClientError outside of the context."""
        if self._session is None:
            raise ClientError("the client is not open: use `async with`")
        return self._session

    async def me(self) -> dict[str, Any]:
        """Account, application, scopes and limits of the key. Raises KeyRefused, Unreachable."""
        return await self._ask("GET", "/v1/me")

    async def call(
        self,
        device: str,
        method: str,
        uri: str,
        *,
        payload: bytes = b"",
        content_type: str | None = None,
        ref: str | None = None,
        channel: str = "default",
        timeout: float | None = None,
        expiry: float | None = None,
    ) -> Accepted:
        """Hand a call over; on return the hub answers for it, whatever happens.

        A connection that breaks, or a hub that restarts, is asked again with the same idempotency key, so the
        device is called once. Raises Refused, Unreachable.
        """
        body: dict[str, Any] = {"method": method, "uri": uri, "channel": channel}
        if payload:
            body["payload-b64"] = base64.b64encode(payload).decode("ascii")
        given = {"content-type": content_type, "ref": ref, "timeout": timeout, "expiry": expiry}
        body.update({member: value for member, value in given.items() if value is not None})
        path = f"/v1/devices/{quote(device, safe='')}/calls"
        answer = await self._insist("POST", path, body, {"idempotency-key": secrets.token_urlsafe(18)})
        return Accepted(
            answer["id"], answer["ref"], answer["channel"], answer["epoch"], answer["offset"]
        )

    async def look(self, call: str) -> dict[str, Any]:
        """How a call stands. Raises Refused, Unreachable."""
        return await self._ask("GET", f"/v1/calls/{quote(call, safe='')}")

    async def keys(self) -> list[dict[str, Any]]:
        """The keys of the application. Raises Refused, Unreachable."""
        answer = await self._ask("GET", "/v1/keys")
        keys: list[dict[str, Any]] = answer["keys"]
        return keys

    async def create_key(self, scopes: list[str], label: str = "") -> dict[str, Any]:
        """A new key of the application; its secret is in the member `key`, this once. Raises Refused, Unreachable."""
        return await self._ask("POST", "/v1/keys", {"scopes": scopes, **({"label": label} if label else {})})

    async def revoke_key(self, id: str) -> None:
        """Take a key back. Raises Refused, Unreachable."""
        await self._ask("DELETE", f"/v1/keys/{quote(id, safe='')}")

    async def _insist(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
        for left in range(_TRIES - 1, -1, -1):
            try:
                return await self._ask(method, path, body, headers)
            except Unreachable:
                pause = 0.5
                if not left:
                    raise
            except Refused as refused:
                pause = min(refused.retry_after or 1.0, _MOST_PAUSE)
                if refused.status != 503 or not left:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def _ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        data = None if body is None else orjson.dumps(body)
        all_headers = {**(headers or {}), **({} if data is None else {"content-type": "application/json"})}
        try:
            async with self.session.request(
                method, self.url + path, data=data, headers=all_headers, allow_redirects=False
            ) as answer:
                content = await answer.read()
                status, told_headers = answer.status, answer.headers
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"{self.url} does not answer: {why(error)}") from error
        told = _members(content)
        if 200 <= status < 300:
            return told
        refusal = KeyRefused if status in (401, 403) else Refused
        raise refusal(status, told, _seconds(told_headers.get("retry-after")))


def why(error: Exception) -> str:
    """What went wrong with a connection, in few words."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    return str(error) or type(error).__name__


def _members(content: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(content) if content else {}
    except orjson.JSONDecodeError:
        return {"detail": content[:200].decode("utf-8", "replace")}
    return told if isinstance(told, dict) else {"items": told}


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdigit() else None
