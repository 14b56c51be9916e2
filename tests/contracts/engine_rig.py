"""What the engine contract needs: a way to make the engine, a running engine with its restart, and short builders."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from hub.model.call import Call, CallSpec, CallState, Stage
from hub.model.delivery import DeliveryDraft
from hub.model.event import Event, EventDraft, EventKind, Position
from hub.model.ids import CallId, CallIds, Incarnation
from hub.model.outcome import Ending, Outcome
from hub.ports.engine import End, Engine
from tests.clock import ManualClock

MINE = Incarnation("mine")
THEIRS = Incarnation("theirs")
CHANNEL = "shop/default"
OWNERS = {CHANNEL: "acme", "shop/other": "acme", "yard/default": "zeta"}

_ids = CallIds()


class MakeEngine(Protocol):
    """How `tests/contracts/engines_<name>.py` makes its engine: on a folder, with a secret-sealing key of its own."""

    def __call__(self, folder: Path, clock: ManualClock) -> Engine: ...


@dataclass
class Running:
    """A started engine, and what it told through `on_commit`."""

    make: MakeEngine
    folder: Path
    clock: ManualClock
    engine: Engine
    told: list[Sequence[Event]] = field(default_factory=list)
    on_commit: Callable[[Sequence[Event]], None] | None = None

    @classmethod
    async def start(cls, make: MakeEngine, folder: Path, clock: ManualClock) -> Running:
        running = cls(make, folder, clock, make(folder, clock))
        await running.engine.start(running.hear)
        return running

    def hear(self, events: Sequence[Event]) -> None:
        self.told.append(events)
        if self.on_commit is not None:
            self.on_commit(events)

    async def restart(self) -> Engine:
        """Stop in order and start again on the same data."""
        await self.engine.stop()
        self.engine = self.make(self.folder, self.clock)
        await self.engine.start(self.hear)
        return self.engine

    # Short words for what most sentences need first.

    def call(self, **changes: Any) -> Call:
        """A call of application `shop` to device `lamp`; members of the spec and of the call may be changed."""
        now = self.clock.now()
        of_spec = {name: changes.pop(name) for name in list(changes) if name in CallSpec.__dataclass_fields__}
        spec = functools.partial(
            CallSpec, account="acme", application="shop", ref="r-1", device="lamp", method="GET", target="/5/0/1",
            channel=CHANNEL, dialect="native",
        )(**of_spec)
        whole: dict[str, Any] = {
            "id": _ids.make(now), "spec": spec, "adapter": "simulated", "address": "acme/lamp", "lane": "lamp",
            "idempotent": True, "accepted_at": now, "expires_at": now + timedelta(seconds=30),
            "timeout": timedelta(seconds=10), "deadline": now + timedelta(seconds=40),
        }
        return Call(**(whole | changes))

    async def accepted(self, **changes: Any) -> CallId:
        call = self.call(**changes)
        await self.engine.journal.accept([call], MINE)
        return call.id

    async def sent(self, **changes: Any) -> CallId:
        call = self.call(**changes)
        await self.engine.journal.accept([call], MINE, [call.id])
        return call.id

    async def at(self, stage: Stage) -> CallId:
        """A call brought to a stage by legal steps."""
        if stage is Stage.ACCEPTED:
            return await self.accepted()
        if stage is Stage.PARKED:
            return await self.accepted(stage=Stage.PARKED)
        call = await self.sent()
        if stage is Stage.WAITING:
            assert await self.engine.journal.checkpoint(call, MINE, b"note")
        if stage is Stage.DONE:
            assert await self.finish(call) == 0
        return call

    async def finish(
        self, call: CallId, *drafts: EventDraft, status: int = 200, deliveries: Sequence[DeliveryDraft] = ()
    ) -> int | None:
        end = End(call, answered(status), self.clock.now(), drafts, tuple(deliveries))
        return await self.engine.journal.finish(end)

    async def state(self, call: CallId) -> CallState:
        state = await self.engine.journal.get(call)
        assert state is not None, "the call is not stored"
        return state

    async def events(self, channel: str = CHANNEL) -> list[Event]:
        """All retained events of a channel."""
        page = await self.engine.log.read(channel, Position("", 0), 100_000)
        return list(page.events)

    async def append(self, *drafts: EventDraft) -> Sequence[Event]:
        return await self.engine.log.append(drafts, OWNERS)


def answered(status: int = 200) -> Outcome:
    return Outcome(Ending.ANSWERED, status, b"23.5", "text/plain", timedelta(seconds=60))


def note(number: int = 0, channel: str = CHANNEL, **body: Any) -> EventDraft:
    """A small event that can be told from others by its number."""
    return EventDraft(channel, EventKind.NOTIFICATION, {"number": number} | body)


def numbers(events: Sequence[Event]) -> list[int]:
    return [event.body["number"] for event in events]
