"""A caller that sends calls without pause while the hub is killed and started again, and remembers every promise."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Mapping
from typing import Any

import aiohttp

Promise = tuple[str, str]


class Caller:
    """Sends calls to many devices; `promised` maps the ref of every call answered 202 to (call id, method)."""

    def __init__(self, url: str, key: str, devices: list[str], seed: int) -> None:
        self.url = url
        self.key = key
        self.devices = devices
        self.promised: dict[str, Promise] = {}
        self.unexpected: list[tuple[int, str]] = []
        self._choose = random.Random(seed)
        self._numbers = itertools.count()
        self._progress = asyncio.Event()

    async def run(self, workers: int) -> None:
        """Call until cancelled."""
        headers = {"Authorization": f"Bearer {self.key}"}
        async with (
            aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=20)) as session,
            asyncio.TaskGroup() as tasks,
        ):
            for _ in range(workers):
                tasks.create_task(self._work(session))

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while True:
            method = self._choose.choice(["GET", "PUT", "POST", "POST"])
            ref = f"c{next(self._numbers)}"
            body: dict[str, Any] = {"method": method, "uri": "/x", "ref": ref, "timeout": 1, "expiry": 30}
            device = self._choose.choice(self.devices)
            try:
                async with session.post(f"{self.url}v1/devices/{device}/calls", json=body) as answer:
                    text = await answer.text()
                    if answer.status == 202:
                        self.promised[ref] = ((await answer.json())["id"], method)
                        self._progress.set()
                    elif answer.status not in (429, 503):
                        self.unexpected.append((answer.status, text))
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                # The hub is away: exactly what is being tested. A call without its 202 promises nothing.
                await asyncio.sleep(0.005)

    async def until(self, count: int) -> None:
        """Return once `count` calls have been promised in all."""
        while len(self.promised) < count:
            self._progress.clear()
            await self._progress.wait()


async def completions(url: str, key: str, channel: str = "default") -> list[Mapping[str, Any]]:
    """Every completion on the channel from its beginning, in order."""
    found: list[Mapping[str, Any]] = []
    position = {"offset": 0}
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            query = {**position, "limit": 1000, "wait": 0}
            async with session.get(f"{url}v1/channels/{channel}/messages", params=query) as answer:
                if answer.status == 204:
                    return found
                assert answer.status == 200, await answer.text()
                page = await answer.json()
            for message in page["messages"]:
                assert message.get("type") != "gap", message
                found += message.get("async-responses", [])
                position = {"epoch": message["epoch"], "offset": message["offset"]}
            if not page["messages"]:
                return found
