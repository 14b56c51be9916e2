"""What a request to the intake comes to, and what is remembered of one that carried an Idempotency-Key (A6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hub.core.limits import Limits
from hub.core.stats import Stats
from hub.model.call import Call
from hub.model.errors import IdempotencyConflict, Refusal, StorageFailed
from hub.model.event import Position
from hub.model.ids import CallId
from hub.ports.clock import Clock
from hub.ports.engine import IdempotencyMark, Journal

# Beside the channels of the answer, whose names have a slash.
_MEMO = "memo"


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's Idempotency-Key with the fingerprint of the request that carries it."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """A call that the hub answers for; `position` is its channel's position before the completion."""

    call: Call
    position: Position


Verdicts = tuple[Taken | Refusal, ...]
Memo = Callable[[Verdicts], Mapping[str, Any]]
"""What a dialect wants to be given again, beside the calls, when its request is repeated."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One verdict per request, in order. `replayed`: the first answer again, nothing was executed; then the verdicts
    are the calls alone, and `memo` is what was said of the rest."""

    verdicts: Verdicts
    replayed: bool = False
    memo: Mapping[str, Any] = field(default_factory=dict)


class Marks:
    """Requests that came with a key, and how they were answered."""

    def __init__(self, journal: Journal, clock: Clock, limits: Limits, stats: Stats) -> None:
        self._journal = journal
        self._clock = clock
        self._limits = limits
        self._stats = stats

    async def recall(self, application: str, idempotency: Idempotency) -> Submission | None:
        """The first answer to the request; None if it is new. Raises IdempotencyConflict, StorageFailed."""
        mark = await self._journal.recall(application, idempotency.key, self._clock.now())
        return None if mark is None else await self.replay(mark, idempotency)

    def mark(
        self,
        application: str,
        idempotency: Idempotency,
        calls: Sequence[Call],
        positions: Mapping[str, Position],
        memo: Mapping[str, Any],
        now: datetime,
    ) -> IdempotencyMark:
        """What is to be remembered of a request whose `calls` are taken on."""
        # Kept for 24 h after the completion, which is at the latest at the deadline (A6).
        last = max(call.deadline for call in calls)
        answer: dict[str, Any] = {name: [position.epoch, position.offset] for name, position in positions.items()}
        if memo:
            answer[_MEMO] = dict(memo)
        return IdempotencyMark(
            application=application,
            key=idempotency.key,
            fingerprint=idempotency.fingerprint,
            expires_at=max(last + timedelta(hours=1), last + self._limits.idempotency, now),
            calls=tuple(call.id for call in calls),
            answer=answer,
        )

    async def replay(self, mark: IdempotencyMark, idempotency: Idempotency) -> Submission:
        """The answer that a mark remembers. Raises IdempotencyConflict, StorageFailed."""
        if mark.fingerprint != idempotency.fingerprint:
            raise IdempotencyConflict("this Idempotency-Key came with another request before")
        answer = mark.answer or {}
        verdicts: list[Taken | Refusal] = []
        for call_id in mark.calls:
            state = await self._journal.get(CallId(call_id))
            if state is None:
                raise StorageFailed("a remembered call is not in the journal")
            epoch, offset = answer[state.call.spec.channel]
            verdicts.append(Taken(state.call, Position(epoch, offset)))
        self._stats.replayed += 1
        return Submission(tuple(verdicts), replayed=True, memo=answer.get(_MEMO) or {})
