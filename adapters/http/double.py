"""A server that does what it is told to, badly if need be: for the rig and for tests.

It speaks HTTP by hand, so that it can break off anywhere, and it keeps jobs in the manner of a storage system (`job`
with ids) and in that of a status address (`/status/<n>`), by a clock that tests move. `ahead` is by
how much the clock differs that HEAD tells of.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
import socket
import ssl
import uuid
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from hub.ports.clock import Clock

CALL_ID = "Call-Id"


@dataclass(slots=True, eq=False)
class Heard:
    """One request."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    writer: asyncio.StreamWriter
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def path(self) -> str:
        """Its path, decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """Its query, decoded."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def call_id(self) -> str:
        """Which call it belongs to."""
        return self.headers.get(CALL_ID.lower(), "")

    async def answer(
        self, status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None, kind: str = "text/plain"
    ) -> None:
        """Answer it; a second answer goes out as well, unasked."""
        told = {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        await self.send(f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode() + (b"" if self.method == "HEAD" else body))
        self.answered.set()

    async def json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        """Answer with JSON."""
        await self.answer(status, json.dumps(value).encode(), headers, "application/json")

    async def send(self, data: bytes) -> None:
        """Bytes as they are."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    def cut(self) -> None:
        """Break the connection off."""
        self.answered.set()
        self.writer.transport.abort()


@dataclass(slots=True, eq=False)
class Kept:
    """A job: over at `ends_at`, with `row` as its result."""

    id: str
    ends_at: datetime
    facets: Mapping[str, Any]
    row: dict[str, Any]
    body: bytes = b""


Script = Callable[[Heard], Awaitable[bool]]


class Server:
    """One server on loopback. `script` sees every request but HEAD first; what it returns True for is dealt with. While
    it is `mute`, HEAD is not answered."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.heard: list[Heard] = []
        self.executed: list[str] = []
        self.script: Script | None = None
        self.mute = False
        self.jobs: dict[str, Kept] = {}
        self.length: timedelta | None = None
        self.clock: Clock | None = None
        self.estimates = False
        self.ahead: timedelta | None = None
        self.news = asyncio.Event()
        self.largest = 0
        self.tls: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        # Held, but not listened on, for as long as the double lives: a port that is let go between two openings may
        # be given to any connection that goes out meanwhile.
        place = socket.socket()
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", 0))
        self.port: int = place.getsockname()[1]
        weakref.finalize(self, os.close, place.detach())

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/api"

    async def open(self) -> None:
        """Listen."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self.port, ssl=self.tls, reuse_address=True
            )

    async def close(self) -> None:
        """Be gone, with every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection off."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once a condition on what was heard holds; fails after five real seconds."""
        async with asyncio.timeout(5):
            while not condition():
                self.news.clear()
                await self.news.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                heard = Heard(method, target, headers, body, writer)
                self.largest = max(self.largest, len(target))
                if method == "HEAD":
                    if not self.mute:
                        await heard.answer(headers=self._date())
                    continue
                self.heard.append(heard)
                self.news.set()
                if self.script is not None and await self.script(heard):
                    self.news.set()
                    continue
                await self._answer(heard)
                self.news.set()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _answer(self, heard: Heard) -> None:
        path = heard.path.removeprefix("/api/")
        if heard.method == "GET" and path.split("/")[0] in ("job", "status"):
            await self._asked_after(heard, path)
            return
        if heard.method != "GET" or heard.call_id:
            self.executed.append(heard.call_id)
        if self.length is not None and heard.method != "GET":
            job = self.make(heard, self.length)
            if heard.query.get("is_async") == "true":
                await heard.json(202, {"id": job.id})
            else:
                left = {"Location": f"/api/status/{job.id}", "Retry-After": str(self._left(job))}
                await heard.answer(202, headers=left)
            return
        await heard.answer(200, heard.body, kind=heard.headers.get("content-type", "text/plain"))

    def make(self, heard: Heard, length: timedelta, **row: Any) -> Kept:
        """A job from a change."""
        assert self.clock is not None
        segments = heard.path.removeprefix("/api/").split("/")
        action = {"PATCH": "modify", "DELETE": "delete"}.get(heard.method, "create")
        named = len(segments) > 1 and segments[1].startswith("name:")
        facets = {
            "resource_type": segments[0],
            "resource_action": segments[-1] if heard.method == "POST" and len(segments) > 1 else action,
            "resource_id": segments[1] if len(segments) > 1 and not named else None,
            "resource_name": segments[1].removeprefix("name:") if named else None,
            "start_time": self.clock.now().isoformat(),
        }
        state = {"state": "COMPLETED", "response_status": "204", "response_body": None, **row}
        kept = Kept(str(uuid.uuid4()), self.clock.now() + length, facets, state, heard.body)
        self.jobs[kept.id] = kept
        return kept

    def end(self, job: str, **row: Any) -> None:
        """End a job now, as told."""
        assert self.clock is not None
        self.jobs[job].ends_at = self.clock.now()
        self.jobs[job].row.update(row)

    async def _asked_after(self, heard: Heard, path: str) -> None:
        kind, _, id = path.partition("/")
        if kind == "status":
            job = self.jobs.get(id)
            if job is None:
                await heard.json(404, {"messages": [{"code": "0xE04040020009"}]})
            elif self._left(job):
                await heard.answer(202, headers={"Retry-After": str(self._left(job))})
            else:
                await heard.answer(200, job.body)
        elif id:
            found = self.jobs.get(id)
            await heard.json(404 if found is None else 200, {"messages": []} if found is None else self._row(found))
        elif "id" in heard.query:
            wanted = re.fullmatch(r"in\.\((.*)\)", heard.query["id"])
            assert wanted is not None, heard.target
            rows = [self._row(self.jobs[one]) for one in wanted[1].split(",") if one in self.jobs]
            await heard.json(200, rows)
        else:
            await heard.json(200, [{"id": job.id} for job in self.jobs.values() if self._fits(job, heard.query)])

    def _fits(self, job: Kept, query: Mapping[str, str]) -> bool:
        since = query.get("start_time", "gte.2000-01-01T00:00:00Z").removeprefix("gte.")
        if datetime.fromisoformat(job.facets["start_time"]) < datetime.fromisoformat(since):
            return False
        words = ("resource_type", "resource_action", "resource_id", "resource_name")
        return all(query[word] == f"eq.{job.facets[word]}" for word in words if word in query)

    def _row(self, job: Kept) -> dict[str, Any]:
        estimate = job.ends_at.isoformat() if self.estimates else None
        if self._left(job):
            return {"id": job.id, "state": "IN_PROGRESS", "estimated_completion_time": estimate}
        return {"id": job.id, **job.row}

    def _date(self) -> Mapping[str, str]:
        if self.ahead is None or self.clock is None:
            return {}
        return {"Date": format_datetime(self.clock.now() + self.ahead, usegmt=True)}

    def _left(self, job: Kept) -> int:
        assert self.clock is not None
        return max(0, math.ceil((job.ends_at - self.clock.now()).total_seconds()))
