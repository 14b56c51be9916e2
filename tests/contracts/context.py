"""What the hub gives to an adapter, as a double that the test can see into and hold up."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Mapping
from datetime import datetime
from typing import Any

from hub.model.errors import Damaged, StorageFailed, UnknownDevice
from hub.ports.adapter import Admission, AdmissionRefused, DeviceEvent, EventKind
from hub.ports.past_call import PastCall
from tests.clock import ManualClock


class ContextDouble:
    """Keeps every event in order. `hold_accept` makes the disk slow, `fail_accept` full; `room` bounds `emit`,
    and with `forgotten` the hub has none of the devices."""

    def __init__(self, settings: Mapping[str, Any] | None = None, clock: ManualClock | None = None) -> None:
        self.name = "under-test"
        self.settings: Mapping[str, Any] = settings or {}
        self.clock = clock or ManualClock()
        self.events: list[DeviceEvent] = []
        self.emitted = 0
        self.room = 1_000_000
        self.checkpoints: dict[str, bytes] = {}
        self.deadlines: defaultdict[str, float] = defaultdict(lambda: self.clock.monotonic() + 3600)
        self.keys: dict[str, str] = {}
        self.secrets: dict[tuple[str, str], str] = {}
        self.asked_to_admit: list[tuple[str, str]] = []
        self.fail_accept = False
        self.forgotten = False
        self.accepting = 0
        self.failures = 0
        self.past: list[PastCall] = []
        self.past_asked: list[datetime] = []
        self.past_fails = False
        self.checkpointed = asyncio.Event()
        self._go = asyncio.Event()
        self._go.set()
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- AdapterContext -------------------------------------------------------------------------

    def emit(self, event: DeviceEvent) -> bool:
        if self.emitted >= self.room:
            return False
        self.emitted += 1
        self._heard(event)
        return True

    async def accept(self, event: DeviceEvent) -> None:
        self.accepting += 1
        self._news.set()
        try:
            await self._go.wait()
            if self.fail_accept:
                self.failures += 1
                raise StorageFailed("the disk is full")
            if self.forgotten:
                raise UnknownDevice("there is no such device")
        finally:
            self.accepting -= 1
            self._news.set()
        self._heard(event)

    async def admit(self, kind: str, identity: str, proof: str | bytes | None) -> Admission | AdmissionRefused:
        self.asked_to_admit.append((kind, identity))
        if kind == "key" and isinstance(proof, str) and proof in self.keys:
            return Admission(identity, self.keys[proof], f"at/{identity}")
        if kind == "secret" and proof is not None and self.secrets.get(("secret", identity)) == proof:
            return Admission(identity, "acme", f"at/{identity}")
        if kind == "open":
            return Admission(identity, "acme", identity)
        return AdmissionRefused("nobody knows it")

    async def checkpoint(self, call_id: str, note: bytes) -> float:
        self.checkpoints[call_id] = note
        self.checkpointed.set()
        return self.deadlines[call_id]

    async def calls_since(self, since: datetime) -> AsyncIterator[PastCall]:
        self.past_asked.append(since)
        if self.past_fails:
            raise Damaged("the file is damaged")
        for call in self.past:
            if call.ended_at is None or call.ended_at >= since:
                yield call

    def secret(self, ref: str) -> bytes:
        raise KeyError(ref)

    def spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- for the test ---------------------------------------------------------------------------

    def hold_accept(self) -> None:
        """From now on `accept` does not return."""
        self._go.clear()

    def release_accept(self) -> None:
        """Let all that wait, and all later ones, be held by the hub."""
        self._go.set()

    @property
    def tasks(self) -> int:
        """How many background tasks are left."""
        return len(self._tasks)

    def of(self, kind: EventKind, address: str | None = None) -> list[DeviceEvent]:
        """The events of a kind so far."""
        return [e for e in self.events if e.kind is kind and address in (None, e.device)]

    async def seen(self, kind: EventKind, address: str | None = None, n: int = 1) -> list[DeviceEvent]:
        """The events of a kind once there are `n`; fails after five real seconds."""
        async with asyncio.timeout(5):
            while len(self.of(kind, address)) < n:
                self._news.clear()
                await self._news.wait()
        return self.of(kind, address)

    async def blocked(self, n: int = 1) -> None:
        """Return when `n` calls of `accept` wait."""
        async with asyncio.timeout(5):
            while self.accepting < n:
                self._news.clear()
                await self._news.wait()

    async def failed(self, n: int) -> None:
        """Return when `accept` failed `n` times."""
        async with asyncio.timeout(5):
            while self.failures < n:
                self._news.clear()
                await self._news.wait()

    def _heard(self, event: DeviceEvent) -> None:
        self.events.append(event)
        self._news.set()
