"""Which job is to blame where lists of them are refused, and when it is not a job but the upstream.

A list that is refused is asked for in halves, after everything else that is due: those who are not to blame are told
apart soon, wherever in the list they stood. What is of no use is counted, and breaks a round off; sooner where nothing
else in that round was of any.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from adapters.http.schedule import Job
from hub.ports.clock import Clock

LIST, SINGLE, SILENT = 1, 3, 40
"""How much a question counts that was of no use: for a list, for one job, and one that was not answered at all."""
MOST_IN_VAIN, MOST_BESIDE = 9, 120
"""How much of that there may be in a row: where nothing was answered in the round, and where something was."""
GROW_AFTER = 60.0
"""Seconds after which lists are twice as long again, where nobody was found who is to blame for their being short."""


class Blame:
    """What refusals tell of the jobs of one upstream; `most`: how many are asked after at once at best."""

    def __init__(self, clock: Clock, most: int) -> None:
        self._clock = clock
        self._most = most
        self._growth = 1
        self._grow_at = float("inf")
        self._longest = 0
        self._count = 0
        self._down = False
        self.nobody_else = True
        """Whether nothing was answered in this round, nor in those that it goes on from."""
        self.known = True
        """Whether all that was of no use since the last answer was about jobs that are known to be bad."""

    def begin(self, *, anew: bool) -> None:
        """A round begins, `anew` unless the one before was over before everybody had a turn."""
        if anew:
            self._count = 0
            self.nobody_else = self.known = True
        if self._clock.monotonic() >= self._grow_at:
            self._longest = 0
            self._growth, self._grow_at = max(2, self._growth), self._clock.monotonic() + GROW_AFTER

    def refused(self, jobs: Sequence[Job], everybody: Iterable[Job], *, too_long: bool) -> None:
        """A list was refused: somebody in it may be to blame; or it was `too_long`, and then it is for everybody, as
        long as no list of half of that length is known to be answered."""
        half = max(1, len(jobs) // 2)
        if too_long and self._longest < half:
            for job in everybody:
                job.most = min(job.most, half)
        for job in jobs:
            job.most = half
            job.suspect = True
        self._growth, self._grow_at = 1, self._clock.monotonic() + GROW_AFTER

    def cleared(self, jobs: Sequence[Job]) -> None:
        """These were answered for: nobody among them is to blame."""
        self._longest = max(self._longest, len(jobs))
        for job in jobs:
            job.suspect = False
            job.most = min(self._most, job.most * self._growth)

    def found(self) -> None:
        """One who is to blame was found, and is in no list from now on: those who are not may be together again."""
        self._growth = self._most

    def answered(self) -> None:
        """A question was answered."""
        self._count = 0
        self.nobody_else, self.known = False, True
        if self._down:
            self._down, self._growth = False, self._most

    @property
    def doubts_lists(self) -> bool:
        """Whether so many lists were refused, and nothing was answered, that one job is to be asked after by itself."""
        return self.nobody_else and self._count >= MOST_IN_VAIN - SINGLE

    def in_vain(self, weight: int, *, known: bool) -> bool:
        """A question was of no use; whether there may be more of them."""
        self._count += SINGLE if weight == SILENT and self.nobody_else else weight
        self.known = self.known and known
        if self._count < (MOST_IN_VAIN if self.nobody_else else MOST_BESIDE):
            return True
        self._down = self.nobody_else and not self.known
        return False
