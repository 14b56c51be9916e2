"""A device made of npm's lwm2m-node-lib, in a process of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.interop.peer import SCRIPTS, environment_of
from tests.require import require

NAME = "node-1"


class NodeDevice:
    """The device's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def do(self, word: str, value: str | None = None) -> None:
        """Have one thing done; returns once the device says that it did it."""
        self.tell(word, value)
        said = await self.said()
        assert said == {"did": word}, said

    def tell(self, word: str, value: str | None = None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"word": word, "value": value}).encode() + b"\n")

    async def said(self) -> dict[str, Any]:
        """The next line."""
        assert self._process.stdout is not None
        async with asyncio.timeout(15):
            return json.loads(await self._process.stdout.readline())


@asynccontextmanager
async def node_device(port: int, name: str = NAME) -> AsyncIterator[NodeDevice]:
    """A device that has registered at a CoAP port of the loopback."""
    node, folder = require("node"), environment_of("lwm2m-node")
    process = await asyncio.create_subprocess_exec(
        node, SCRIPTS / "lwm2m-node" / "device.js", folder, "127.0.0.1", str(port), name,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )
    try:
        device = NodeDevice(process)
        await device.do("register")
        yield device
    finally:
        process.kill()
        await process.wait()
