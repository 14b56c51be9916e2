"""An operation: one write that somebody waits for, applied by the writer inside a transaction with others.

The rule that lets many share a commit: `apply` looks first and writes afterwards. A HubError that it raises has
written nothing, so its neighbours are untouched; any other error makes the writer undo the transaction and apply
each operation alone.
"""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass
from typing import Generic, TypeVar

from hub.engines.sqlite.heads import Heads

T = TypeVar("T")


@dataclass(slots=True)
class Transaction:
    """What an operation may use: the writer's cursor, the heads, the count of ended calls."""

    cursor: sqlite3.Cursor
    heads: Heads
    ended: int = 0
    ended_before: int = 0
    low_on_disk: bool = False
    freed: bool = False

    def keep(self) -> None:
        self.ended_before = self.ended

    def undo(self) -> None:
        self.ended = self.ended_before
        self.heads.undo()


class Operation(Generic[T]):
    """One write. `growing` says that it takes on new work, which is refused when the disk is nearly full."""

    __slots__ = ("error", "future", "result")

    growing = False

    future: asyncio.Future[T]
    result: T
    error: BaseException | None

    def apply(self, tx: Transaction) -> T:
        """Do it within the open transaction; the result is told once the commit has happened."""
        raise NotImplementedError
