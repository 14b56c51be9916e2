"""A channel watched for as long as it takes: over restarts of the hub, from where one left off.

The stream of `GET /v1/stream`. A position is kept from the first answer on, so an interruption loses nothing and
repeats little; what retention took meanwhile is told as a gap.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import orjson

from hub.client.client import Client, why
from hub.client.errors import ClientError, KeyRefused, Refused, Unreachable, WatchEnded

Frame = dict[str, Any]
Start = str | tuple[str, int]

_MOST_BYTES = 16 * 1024 * 1024
_FIRST_PAUSE = 0.2
_MOST_PAUSE = 10.0
_HEARTBEAT = 30.0
# Close codes that say "come back" (delivery-guarantees E); a connection that broke has none, or 1006.
_COME_BACK = frozenset({1001, 1006, 1011, 1012, 1013})


async def watch(
    client: Client,
    channel: str = "default",
    start: Start = "now",
    *,
    told: Callable[[str], None] = lambda state: None,
    patience: float | None = None,
) -> AsyncIterator[Frame]:
    """Every `subscribed`, `message` and `gap` frame of the channel, each once, in order.

    `start` is `now`, `first`, `last` or (epoch, offset). `told` hears of the connection in words. `patience`
    bounds how long the hub may stay away (None: no bound). Raises KeyRefused, Refused, WatchEnded; Unreachable
    when patience is over.
    """
    pause = _FIRST_PAUSE
    loop = asyncio.get_running_loop()
    away_since: float | None = None
    while True:
        try:
            async for frame in _connection(client, channel, start):
                pause, away_since = _FIRST_PAUSE, None
                where = _position(frame)
                if where is not None:
                    start = where
                yield frame
        except (Unreachable, Refused) as error:
            lasting = isinstance(error, Refused) and error.status not in (429, 503)
            if isinstance(error, KeyRefused) or lasting:
                raise
            if away_since is None:
                away_since = loop.time()
                told(f"{error}; trying again")
            if patience is not None and loop.time() - away_since >= patience:
                raise
        # Full jitter: a thousand watchers of one hub shall not come back in the same instant.
        await asyncio.sleep(random.uniform(0.05, pause))
        pause = min(2 * pause, _MOST_PAUSE)


async def _connection(client: Client, channel: str, start: Start) -> AsyncIterator[Frame]:
    """The frames of one connection; ends, or raises Unreachable, where coming back is right."""
    request: Frame = {"type": "subscribe", "channel": channel}
    if isinstance(start, str):
        request["from"] = start
    else:
        request["epoch"], request["offset"] = start
    try:
        async with client.session.ws_connect(
            client.url + "/v1/stream",
            protocols=("hub.v1.json",),
            heartbeat=_HEARTBEAT,
            max_msg_size=_MOST_BYTES,
            compress=0,
            timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
        ) as socket:
            await socket.send_str(orjson.dumps(request).decode())
            async for received in socket:
                if received.type is not aiohttp.WSMsgType.TEXT:
                    break
                frame: Frame = orjson.loads(received.data)
                _judge(frame)
                if frame.get("type") in ("subscribed", "message", "gap"):
                    yield frame
            _judge_close(socket)
    except aiohttp.WSServerHandshakeError as error:
        refusal = KeyRefused if error.status in (401, 403) else Refused
        raise refusal(error.status, {"title": error.message}) from error
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        raise Unreachable(f"{client.url} does not answer: {why(error)}") from error


def _judge(frame: Frame) -> None:
    if frame.get("type") == "unsubscribed":
        raise WatchEnded(int(frame.get("code") or 1000), "the channel was deleted or taken over")
    if frame.get("type") == "error":
        problem = frame.get("problem")
        problem = problem if isinstance(problem, dict) else {}
        raise Refused(int(problem.get("status", 400)), problem)


def _judge_close(socket: aiohttp.ClientWebSocketResponse) -> None:
    code = socket.close_code
    if code == 1008:
        raise KeyRefused(401, {"detail": "the key is not, or no longer, valid"})
    if code is not None and code not in _COME_BACK and not 4000 <= code < 4500:
        raise WatchEnded(code, "")


def _position(frame: Frame) -> tuple[str, int] | None:
    """Where to go on after this frame; a gap tells it as `next`."""
    epoch, offset = frame.get("epoch"), frame.get("next" if frame["type"] == "gap" else "offset")
    if isinstance(epoch, str) and isinstance(offset, int):
        return epoch, offset
    if frame["type"] == "message":
        raise ClientError("a message without a position")
    return None
