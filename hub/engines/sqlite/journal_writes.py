"""What the journal writes: each change of a call as one operation with its guard.

The guards are the lifecycle table's: a step is tried as an update of rows in the stages it may come from, and what did
not move is not in the answer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from hub.engines.sqlite import commands, jobs, sql
from hub.engines.sqlite.delivery_rows import PackedDelivery, insert_deliveries
from hub.engines.sqlite.heads import PackedDraft
from hub.engines.sqlite.moments import to_micros, to_moment
from hub.engines.sqlite.operation import Operation, Transaction
from hub.engines.sqlite.rows import STAGE_CODE, as_stored, mask, pack, pack_asked, pack_outcome, unpack
from hub.model.call import Call, Stage
from hub.model.errors import IllegalStep
from hub.model.ids import CallId, Incarnation
from hub.model.lifecycle import Step, sources
from hub.ports.engine import Accepted, End, IdempotencyMark, Remembered

_SQL = sql.load("journal")
_OUTBOX = sql.load("outbox")

_INSERT_CALL = _SQL["insert_call"]
_INSERT_ASKED = _SQL["insert_asked"]
_INSERT_ENDED = _SQL["insert_ended"]
_CLAIM = _SQL["claim"]
_FINISH = _SQL["finish"]

_ACCEPTED, _PARKED, _SENT = STAGE_CODE[Stage.ACCEPTED], STAGE_CODE[Stage.PARKED], STAGE_CODE[Stage.SENT]
_WAITING, _DONE = STAGE_CODE[Stage.WAITING], STAGE_CODE[Stage.DONE]

_MAY_CLAIM = mask(*sources(Step.CLAIM))
_MAY_RELEASE = mask(*sources(Step.RELEASE))
# Parking a call that was sent needs the claim and is `release(park=True)`; `park` is for what waits unsent.
_MAY_PARK_UNSENT = mask(*sources(Step.PARK)) & ~mask(Stage.SENT)
_MAY_PARK_SENT = mask(*sources(Step.PARK)) & mask(Stage.SENT)
_MAY_CHECKPOINT = mask(*sources(Step.CHECKPOINT))
_MAY_END = mask(*sources(Step.END))
_OF_A_CALL = ("forget_ended", "forget_asked", "forget_job", "forget_command", "forget_call")
_IN_FLIGHT = mask(Stage.SENT, Stage.WAITING)


@as_stored
def read_mark(application: str, key: str, row: tuple[bytes, int, bytes]) -> IdempotencyMark:
    """A row (fingerprint, expires_at, body) of a mark."""
    fingerprint, expires_at, body = row
    calls, answer = unpack(body)
    return IdempotencyMark(
        application, key, fingerprint, to_moment(expires_at), tuple(CallId(call) for call in calls), answer
    )


class Accept(Operation[Accepted | Remembered]):
    """New calls, some of them claimed at once, and the mark of the request that brought them."""

    __slots__ = ("_claimed", "_mark", "_now", "_rows")

    growing = True

    def __init__(
        self, calls: Sequence[Call], incarnation: Incarnation, send_now: Collection[CallId],
        mark: IdempotencyMark | None, now: int,
    ) -> None:
        now_sent = frozenset(send_now)
        kept_until = 0 if mark is None else to_micros(mark.expires_at)
        self._rows = []
        for call in calls:
            if call.stage is not Stage.ACCEPTED and call.stage is not Stage.PARKED:
                raise IllegalStep(f"a call cannot be accepted as {call.stage.value}")
            spec, at = call.spec, to_micros(call.accepted_at)
            sent = call.id in now_sent
            self._rows.append(((
                call.id, spec.account, spec.application, spec.device, spec.ref,
                _SENT if sent else STAGE_CODE[call.stage], 1 if sent else 0, at, at, kept_until,
                incarnation if sent else None,
            ), pack_asked(call), None if call.job is None else (
                spec.account, spec.device, call.job.kind, call.job.action, call.job.instance, call.job.name,
                call.job.user, at,
            ), None if spec.command is None else commands.row(spec, spec.command)))
        self._claimed = frozenset(call.id for call in calls if call.id in now_sent) if now_sent else now_sent
        self._mark = None if mark is None else (
            mark.application, mark.key, mark.fingerprint, kept_until, pack((mark.calls, mark.answer))
        )
        self._now = now

    def apply(self, tx: Transaction) -> Accepted | Remembered:
        run = tx.cursor.execute
        if self._mark is not None:
            application, key = self._mark[:2]
            row = run(_SQL["get_mark"], (application, key, self._now)).fetchone()
            if row is not None:
                return Remembered(read_mark(application, key, row))
            run(_SQL["put_mark"], self._mark)
        for row, asked, job, command in self._rows:
            run(_INSERT_CALL, row)
            seq = tx.cursor.lastrowid
            run(_INSERT_ASKED, (seq, asked))
            if job is not None:
                run(jobs.INSERT, (seq, *job))
            if command is not None:
                run(commands.INSERT, (seq, *command))
        return Accepted(self._claimed)


class Move(Operation[frozenset[CallId]]):
    """One guarded update for each of some calls; the result is which of them moved."""

    __slots__ = ("_after", "_before", "_statement", "ids")

    def __init__(
        self, statement: str, ids: Collection[CallId], before: tuple[object, ...], after: tuple[object, ...]
    ) -> None:
        self._statement = statement
        self.ids = tuple(ids)
        self._before = before
        self._after = after

    def apply(self, tx: Transaction) -> frozenset[CallId]:
        cursor, moved = tx.cursor, []
        for call in self.ids:
            cursor.execute(self._statement, (*self._before, call, *self._after))
            if cursor.rowcount:
                moved.append(call)
        return frozenset(moved)


def claim(ids: Collection[CallId], incarnation: Incarnation, at: datetime) -> Move:
    return Move(_CLAIM, ids, (_SENT, incarnation, to_micros(at)), (_MAY_CLAIM,))


def release(
    ids: Collection[CallId], incarnation: Incarnation, park: bool, retry_used: bool, maybe_sent: bool
) -> Move:
    stage, guard = (_PARKED, _MAY_PARK_SENT) if park else (_ACCEPTED, _MAY_RELEASE)
    return Move(_SQL["release"], ids, (stage, int(retry_used), int(maybe_sent)), (incarnation, guard))


def park(ids: Collection[CallId]) -> Move:
    return Move(_SQL["park"], ids, (_PARKED,), (_MAY_PARK_UNSENT,))


def adopt(ids: Collection[CallId], incarnation: Incarnation) -> Move:
    return Move(_SQL["adopt"], ids, (incarnation,), (incarnation, _IN_FLIGHT))


def checkpoint(call: CallId, incarnation: Incarnation, note: bytes) -> Move:
    return Move(_SQL["checkpoint"], (call,), (_WAITING, note), (incarnation, _MAY_CHECKPOINT))


class Finish(Operation[int | None]):
    """The end of a call: its outcome, its events and their deliveries, or nothing at all."""

    __slots__ = ("_at", "_call", "_deliveries", "_drafts", "_ending", "_job", "_outcome")

    def __init__(self, end: End) -> None:
        self._call = end.call
        self._at = to_micros(end.at)
        self._ending = end.outcome.ending.value
        self._job = (*jobs.ended(end.outcome), end.made)
        self._outcome = pack_outcome(end.outcome)
        self._drafts = [PackedDraft(draft, pack(draft.body)) for draft in end.drafts]
        self._deliveries = [PackedDelivery(draft, len(end.drafts)) for draft in end.deliveries]

    def apply(self, tx: Transaction) -> int | None:
        cursor, call, at = tx.cursor, self._call, self._at
        cursor.execute(_FINISH, (_DONE, at, self._ending, call, _MAY_END))
        if not cursor.rowcount:
            return None
        tx.ended += 1
        heads, events = tx.heads, []
        for packed in self._drafts:
            head = heads.find(packed.draft.channel)
            if head is None:
                account = cursor.execute(_SQL["account_of"], (call,)).fetchone()[0]
                head = heads.make(packed.draft.channel, account, at)
            events.append(heads.add(head, packed, at))
        if self._deliveries:
            insert_deliveries(tx, self._deliveries, events)
        epoch, place = (events[0].epoch, events[0].offset) if events else (None, None)
        cursor.execute(_INSERT_ENDED, (epoch, place, self._outcome, call))
        # The row has the number of the call, and a job has the same; most calls are none, and nothing is found.
        cursor.execute(jobs.ENDED, (*self._job, cursor.lastrowid))
        return place or 0


class Forget(Operation[int]):
    """Ended calls beyond their time or number, expired marks and old dead letters; at most `limit` rows of them."""

    __slots__ = ("_before", "_keep", "_limit", "_now")

    def __init__(self, before: int, keep: int, now: int, limit: int) -> None:
        self._before = before
        self._keep = keep
        self._now = now
        self._limit = limit

    def apply(self, tx: Transaction) -> int:
        run = tx.cursor.execute
        asked = {"before": self._before, "now": self._now, "limit": self._limit}
        calls = run(_SQL["old_calls"], asked).fetchall()
        for table in _OF_A_CALL:
            tx.cursor.executemany(_SQL[table], calls)
        surplus = min(self._limit - len(calls), tx.ended - len(calls) - self._keep)
        if surplus > 0:
            more = run(_SQL["surplus_calls"], {"now": self._now, "limit": surplus}).fetchall()
            for table in _OF_A_CALL:
                tx.cursor.executemany(_SQL[table], more)
            calls += more
        tx.ended -= len(calls)
        left = self._limit - len(calls)
        run(_SQL["forget_marks"], (self._now, left))
        left -= tx.cursor.rowcount
        for (delivery,) in run(_OUTBOX["old_dead"], (self._before, left)).fetchall():
            [(channel, place)] = run(_OUTBOX["take_out"], (delivery,)).fetchall()
            run(_OUTBOX["drop_event"], {"channel": channel, "place": place})
            left -= 1
        tx.freed |= left < self._limit
        return self._limit - left
