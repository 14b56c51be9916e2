"""The courier where its own hub fails it: storage that does not answer, bugs, and the end of the hub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from hub.core.limits import Limits
from hub.core.stats import Stats
from hub.delivery.outgoing.courier import Courier
from hub.delivery.outgoing.retry import Result, Tried
from hub.engines.sqlite.bell import BellHere
from hub.model.delivery import Delivery
from hub.model.errors import StorageFailed
from hub.model.event import Event, EventKind
from tests.clock import ManualClock

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryOutbox:
    """Rows in a dictionary; `failing` are the names of methods that fail now."""

    def __init__(self) -> None:
        self.rows: dict[int, Delivery] = {}
        self.failing: set[str] = set()
        self.refused = asyncio.Event()
        self.changed = asyncio.Event()
        self.asked: list[int] = []
        self.lag = 0

    def add(self, id: int, endpoint: str = "callback/shop/http://a.test:80", due_at: datetime = START) -> None:
        self.rows[id] = Delivery(
            id, endpoint, "acme", "shop/default", "e", id, due_at, 0, "http://a.test/", "native", None
        )

    def _judge(self, name: str) -> None:
        if name in self.failing:
            self.refused.set()
            raise StorageFailed("no disk")

    async def due(
        self,
        now: datetime,
        limit: int,
        exclude: Collection[str] = (),
        exclude_applications: Collection[str] = (),
        exclude_accounts: Collection[str] = (),
    ) -> Sequence[Delivery]:
        self._judge("due")
        await asyncio.sleep(0)
        due = [
            r
            for r in self.rows.values()
            if not r.dead and r.due_at <= now and r.endpoint not in exclude
            and r.account not in exclude_accounts and r.channel.partition("/")[0] not in exclude_applications
        ]
        self.asked.append(len(due[:limit]))
        return sorted(due, key=lambda row: (row.due_at, row.id))[:limit]

    async def next_due(self, after: datetime | None = None) -> datetime | None:
        later = [r.due_at for r in self.rows.values() if not r.dead and (after is None or r.due_at > after)]
        return min(later, default=None)

    async def event(self, delivery: int) -> Event | None:
        self._judge("event")
        return Event("shop/default", "e", delivery, START, EventKind.COMPLETION, {})

    async def delivered(self, delivery: int) -> None:
        self._judge("delivered")
        self.rows.pop(delivery, None)
        self.changed.set()

    async def failed(self, delivery: int, error: str, due_at: datetime | None) -> None:
        row = self.rows[delivery]
        self.rows[delivery] = replace(
            row, attempts=row.attempts + 1, last_error=error, due_at=due_at or row.due_at, dead=due_at is None
        )
        self.changed.set()
        for _ in range(self.lag):
            await asyncio.sleep(0)


class GoodEndpoints:
    """No endpoint ever fails for long."""

    def failing(self, endpoint: str) -> bool:
        return False

    disabled = failing

    async def failed(self, delivery: Delivery) -> None:
        pass

    succeeded = failed


class Sent:
    """Attempts that the test decides on."""

    def __init__(self) -> None:
        self.made: asyncio.Queue[int] = asyncio.Queue()
        self.result: Tried | Exception = Tried(Result.TAKEN)
        self.let_go = asyncio.Event()
        self.let_go.set()

    async def make(self, delivery: Delivery, event: Event) -> Tried:
        self.made.put_nowait(delivery.id)
        await self.let_go.wait()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Rig:
    """A courier on a memory outbox."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.outbox, self.sent, self.clock, self.stats = MemoryOutbox(), Sent(), ManualClock(START), Stats()
        self.bell = BellHere()
        access: Any = SimpleNamespace(serves=lambda key: True)
        parts: tuple[Any, ...] = (self.outbox, GoodEndpoints(), access, self.clock, limits or Limits(), self.stats)
        self.courier = Courier(*parts, luck=lambda: 0.5)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        with self.bell.listen("outbox") as ringing:
            sent: Any = self.sent
            task = asyncio.ensure_future(self.courier.run(sent, ringing))
            try:
                async with asyncio.timeout(5):
                    yield
            finally:
                task.cancel()
                await asyncio.wait([task])

    async def rest(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


async def test_a_row_is_not_sent_again_while_its_outcome_cannot_be_stored() -> None:
    rig = Rig()
    rig.outbox.add(1)
    rig.outbox.failing = {"delivered"}
    async with rig.running():
        await rig.sent.made.get()
        await rig.outbox.refused.wait()
        for _ in range(5):
            rig.bell.ring("outbox")
            rig.clock.advance(2)
            await rig.rest()
        rig.outbox.failing = set()
        rig.clock.advance(2)
        await rig.outbox.changed.wait()
    assert rig.sent.made.empty()
    assert rig.outbox.rows == {}


async def test_a_row_that_cannot_be_read_costs_the_receiver_no_try() -> None:
    rig = Rig()
    rig.outbox.add(1)
    rig.outbox.failing = {"event"}
    async with rig.running():
        await rig.outbox.refused.wait()
        assert rig.outbox.rows[1].attempts == 0
        rig.outbox.failing = set()
        await rig.rest()
        rig.clock.advance(2)
        await rig.outbox.changed.wait()
    assert rig.outbox.rows == {}


async def test_storage_that_cannot_be_asked_is_asked_again() -> None:
    rig = Rig()
    rig.outbox.add(1)
    rig.outbox.failing = {"due"}
    async with rig.running():
        await rig.outbox.refused.wait()
        rig.outbox.failing = set()
        await rig.rest()
        rig.clock.advance(2)
        assert await rig.sent.made.get() == 1


async def test_a_bug_counts_as_a_failed_try_and_is_not_repeated_at_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rig.outbox.add(1)
    rig.sent.result = KeyError("bug")
    async with rig.running():
        await rig.outbox.changed.wait()
        await rig.rest()
    row = rig.outbox.rows[1]
    assert (row.attempts, row.due_at, row.last_error) == (1, START + timedelta(seconds=5), "the hub failed (KeyError)")
    assert rig.sent.made.qsize() == 1
    assert "delivery 1" in caplog.text


async def test_a_row_is_picked_up_without_a_ring_when_it_becomes_due() -> None:
    rig = Rig()
    rig.outbox.add(1, due_at=START + timedelta(minutes=10))
    async with rig.running():
        await rig.rest()
        for _ in range(10):
            assert rig.sent.made.empty()
            rig.clock.advance(60)
            await rig.rest()
        assert await rig.sent.made.get() == 1


async def test_a_lost_ring_costs_a_minute_at_most() -> None:
    rig = Rig()
    async with rig.running():
        await rig.rest()
        rig.outbox.add(1)
        rig.clock.advance(60)
        assert await rig.sent.made.get() == 1


async def test_a_retry_is_not_held_up_by_what_hangs_elsewhere() -> None:
    rig = Rig()
    rig.outbox.add(1)
    rig.outbox.add(2, "callback/shop/http://b.test:80", START + timedelta(seconds=5))
    rig.sent.let_go.clear()
    async with rig.running():
        assert await rig.sent.made.get() == 1
        await rig.rest()
        rig.clock.advance(5)
        assert await rig.sent.made.get() == 2
        await rig.rest()
    assert len(rig.outbox.asked) < 10, "what hangs is no reason to look again and again"


async def test_what_came_while_the_window_was_full_goes_as_soon_as_there_is_room() -> None:
    rig = Rig()
    for id in range(8):
        rig.outbox.add(id)
    rig.sent.let_go.clear()
    async with rig.running():
        for _ in range(8):
            await rig.sent.made.get()
        await rig.rest()
        for id in range(8, 12):
            rig.outbox.add(id)
        rig.bell.ring("outbox")
        await rig.rest()
        assert rig.sent.made.empty()
        rig.sent.let_go.set()
        assert {await rig.sent.made.get() for _ in range(4)} == {8, 9, 10, 11}


async def test_a_row_that_is_due_anew_the_moment_it_was_given_up_is_not_overlooked() -> None:
    from dataclasses import replace

    rig = Rig()
    rig.outbox.add(1)
    rig.sent.result = Tried(Result.GONE, "HTTP 410")
    rig.outbox.lag = 20
    async with rig.running():
        await rig.sent.made.get()
        await rig.outbox.changed.wait()
        # A replay in the very moment of the death.
        rig.sent.result = Tried(Result.TAKEN)
        rig.courier.forgive(rig.outbox.rows[1])
        rig.outbox.rows[1] = replace(rig.outbox.rows[1], dead=False)
        rig.bell.ring("outbox")
        assert await rig.sent.made.get() == 1


async def test_a_long_line_for_one_endpoint_does_not_hide_another() -> None:
    rig = Rig()
    for id in range(1000):
        rig.outbox.add(id)
    rig.outbox.add(5000, "callback/shop/http://b.test:80", START + timedelta(seconds=-1 + 1))
    rig.sent.let_go.clear()
    async with rig.running():
        started = {await rig.sent.made.get() for _ in range(9)}
        await rig.rest()
    assert started == {*range(8), 5000}
    assert rig.sent.made.empty()
    assert max(rig.outbox.asked) <= 512, "memory holds a page, not the line"


async def test_more_endpoints_than_a_page_holds_are_all_served_at_once() -> None:
    rig = Rig(Limits(callbacks_per_tenant=1000, callbacks_per_account=1000))
    for id in range(700):
        rig.outbox.add(id, f"callback/shop/http://h{id}.test:80")
    rig.sent.let_go.clear()
    async with rig.running():
        assert {await rig.sent.made.get() for _ in range(700)} == set(range(700))


async def test_one_application_cannot_take_every_place() -> None:
    rig = Rig(Limits(callbacks_per_tenant=10, callbacks_at_once=100))
    for id in range(40):
        rig.outbox.add(id, f"callback/shop/http://h{id}.test:80")
    rig.sent.let_go.clear()
    async with rig.running():
        for _ in range(10):
            await rig.sent.made.get()
        await rig.rest()
        assert rig.sent.made.empty()
        assert rig.courier.under_way == 10
        rig.sent.let_go.set()
        for _ in range(30):
            await rig.sent.made.get()


async def test_a_halted_courier_starts_nothing_and_is_quiet_when_the_last_is_over() -> None:
    rig = Rig()
    rig.outbox.add(1)
    rig.sent.let_go.clear()
    async with rig.running():
        await rig.sent.made.get()
        rig.courier.halt()
        rig.outbox.add(2)
        rig.bell.ring("outbox")
        waiting = asyncio.ensure_future(rig.courier.quiet(rig.clock.monotonic() + 10))
        await rig.rest()
        assert not waiting.done()
        rig.sent.let_go.set()
        assert await waiting
        assert rig.sent.made.empty()


async def test_a_receiver_that_hangs_holds_up_the_end_no_longer_than_said() -> None:
    rig = Rig()
    rig.outbox.add(1)
    rig.sent.let_go.clear()
    async with rig.running():
        await rig.sent.made.get()
        waiting = asyncio.ensure_future(rig.courier.quiet(rig.clock.monotonic() + 2))
        await rig.rest()
        rig.clock.advance(2)
        assert not await waiting
    assert 1 in rig.outbox.rows, "the next start sends it again"
