"""A change whose 202 was lost: what became of it is found out, and it is never blindly sent again.

An upstream that knows repetitions by a key is asked again under the same key. Any other, and one that says nothing of
the key, is looked through for the one job that this change must have become; where there is none, or more than one, or
one that may be another's, nobody can tell.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from adapters.http.owned import Owned
from adapters.http.pace import Beside, Pace
from adapters.http.question import Likeness, at, likeness_of
from adapters.http.shape import JobShape
from adapters.http.told import id_of, of_repetition, rows
from adapters.http.upstream import Upstream
from adapters.http.wire import Answer
from hub.ports.adapter import CallError, Delivery, DeviceTimeout, NotConnected, Unreachable
from hub.ports.clock import Clock
from hub.ports.past_call import PastCall, RecallsCalls

LOOKS = 4
FIRST_PAUSE, MOST_PAUSE = 0.5, 8.0
AWAY_PAUSE = 1.0
JITTER = 0.2
MOST_SEARCHES, MOST_REPEATED = 4, 16
"""Looks, and changes that are said once more, under way at a time."""
SEARCH_FOR = timedelta(minutes=10)
REPEAT_FOR = timedelta(hours=12)
REPEAT_THERE = timedelta(minutes=10)
"""How long a change is said again to an upstream that is there: it holds the lane of its device meanwhile."""
MARGIN = timedelta(seconds=2)
SLACK = timedelta(minutes=2)
"""By how much the owners of jobs are known further back than jobs are looked for, for clocks that differ."""

Send = Callable[[float], Awaitable[Answer]]


class Search:
    """A change of which nobody knows yet what became of it. `doubtful`: there is, or was, another one like it."""

    __slots__ = ("doubtful", "likeness")

    def __init__(self, likeness: Likeness | None) -> None:
        self.likeness = likeness
        self.doubtful = False


class Lost:
    """Finds the jobs of one upstream that belong to nobody."""

    def __init__(
        self,
        upstream: Upstream,
        shape: JobShape,
        clock: Clock,
        answer: timedelta,
        past: RecallsCalls | None,
        pace: Pace,
    ) -> None:
        self._upstream = upstream
        self._shape = shape
        self._clock = clock
        self._answer = answer.total_seconds()
        self.owned = Owned(past, clock, self._likeness_of)
        self._sending: Counter[Likeness] = Counter()
        self._searches: list[Search] = []
        self._looks = Beside(pace, upstream.bound, MOST_SEARCHES)
        self._repeats = Beside(pace, upstream.bound, MOST_REPEATED)
        self._chance = random.Random()

    def likeness(self, method: str, prefix: str, target: str) -> Likeness | None:
        """What the job of a change is known by."""
        return likeness_of(self._shape, self._upstream.settings.user, method, prefix, target)

    @contextmanager
    def sending(self, likeness: Likeness | None) -> Iterator[None]:
        """A change is on its way for the length of the block: a job that is found meanwhile may be its. What leaves the
        block with an error may have left a job that nobody knows, unless the error says that nothing was sent."""
        if likeness is None:
            yield
            return
        self._sending[likeness] += 1
        try:
            yield
        except CallError as error:
            if error.delivery is not Delivery.NOT_SENT:
                self.owned.orphaned(likeness)
            raise
        except BaseException:
            self.owned.orphaned(likeness)
            raise
        finally:
            self._sending[likeness] -= 1
            if not self._sending[likeness]:
                del self._sending[likeness]

    @contextmanager
    def searching(self, likeness: Likeness | None) -> Iterator[Search]:
        """It is found out within the block what became of a change. Of two that look the same, whichever job there is
        may be either's. What leaves the block with an error may have left a job that nobody knows."""
        search = Search(likeness)
        if likeness is not None:
            for other in self._searches:
                if other.likeness is not None and other.likeness.overlaps(likeness):
                    other.doubtful = search.doubtful = True
        self._searches.append(search)
        try:
            yield search
        except BaseException:
            self.owned.orphaned(likeness)
            raise
        finally:
            self._searches.remove(search)

    async def again(self, sent_at: datetime, deadline: float, send: Send) -> Answer | None:
        """The answer to the change, asked for under the same key; None when nothing was said of it in time."""
        until = min(deadline, self._clock.monotonic() + self._left(sent_at, REPEAT_FOR))
        pause, spent = FIRST_PAUSE, 0.0
        while self._clock.monotonic() + pause < until and spent < REPEAT_THERE.total_seconds():
            began = self._clock.monotonic()
            await self._rest(pause, until)
            if self._upstream.breaker.open:
                # Somebody looks whether it is back; from then on nobody is to wait long.
                pause = AWAY_PAUSE
                continue
            spent += self._clock.monotonic() - began
            pause = min(MOST_PAUSE, pause * 2)
            async with self._repeats.turn(deadline):
                if self._upstream.breaker.open:
                    continue
                began = self._clock.monotonic()
                try:
                    answer = await send(min(deadline, began + self._answer))
                except (Unreachable, NotConnected, DeviceTimeout):
                    continue  # `rest` ends this when the hub stops
                finally:
                    spent += self._clock.monotonic() - began
            if of_repetition(answer):
                return answer
        return None

    async def find(self, search: Search, sent_at: datetime, deadline: float) -> str:
        """The job that a change became. Raises DeviceTimeout (MAYBE) when that cannot be told."""
        likeness = search.likeness
        if likeness is None or likeness.question is None:
            raise _nobody_knows()
        until = min(deadline, self._clock.monotonic() + self._left(sent_at, SEARCH_FOR))
        looks, pause, asked = 0, FIRST_PAUSE, False
        if not await self.owned.whole_since(sent_at - SLACK):
            raise _nobody_knows()
        # The first look is always had, however long others stand in line for theirs.
        while looks < LOOKS and (self._clock.monotonic() + pause < until or not asked):
            await self._rest(pause, deadline)
            pause = min(MOST_PAUSE, pause * 2)
            async with self._looks.turn(deadline):
                asked = True
                found = await self._look(likeness.question, sent_at, deadline)
            if found is None or any(one.overlaps(likeness) for one in self._sending):
                # A 202 that is on its way to another call says whose the job is.
                continue
            looks += 1
            fresh = [job for job in found if job not in self.owned]
            doubtful = search.doubtful or self.owned.doubtful(likeness, sent_at - 2 * MARGIN)
            if len(fresh) > 1 or doubtful or "" in fresh:
                break
            if fresh:
                self.owned.know(fresh[0])
                return fresh[0]
        raise _nobody_knows()

    async def _look(self, question: str, sent_at: datetime, deadline: float) -> list[str] | None:
        """Jobs that may be it, "" for those that are not named; None when the upstream did not say."""
        bound = min(deadline, self._clock.monotonic() + self._answer)
        if self._upstream.skew is None:
            # Nobody has answered yet, as after a restart: the moment is one of the upstream's clock.
            try:
                await self._upstream.look(bound)
            except (Unreachable, NotConnected, DeviceTimeout):
                return None
        since = sent_at + timedelta(seconds=self._upstream.skew or 0.0) - MARGIN
        try:
            answer = await self._upstream.ask("GET", at(question, since), bound)
        except (Unreachable, NotConnected, DeviceTimeout):
            return None
        found = rows(answer.body) if answer.status in (200, 206) and answer.whole else None
        if found is None:
            return None
        rest = [""] if answer.status == 206 else []
        return [id_of(self._shape, row) or "" for row in found] + rest

    async def _rest(self, pause: float, until: float) -> None:
        # Those that were lost together do not all come at the same moment.
        pause *= self._chance.uniform(1 - JITTER, 1 + JITTER)
        await self._upstream.rest(min(self._clock.monotonic() + pause, until))

    def _left(self, sent_at: datetime, most: timedelta) -> float:
        # After a restart the time is over that passed meanwhile, but one look is always due.
        return max((sent_at + most - self._clock.now()).total_seconds(), FIRST_PAUSE + 2.0)

    def _likeness_of(self, call: PastCall) -> Likeness | None:
        name, _, prefix = call.device.partition("/")
        return self.likeness(call.method, prefix, call.target) if name == self._upstream.name else None


def _nobody_knows() -> DeviceTimeout:
    return DeviceTimeout("it is not known whether the change was taken", delivery=Delivery.MAYBE)
