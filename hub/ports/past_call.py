"""What a context tells an adapter of its calls of the past, also of those that an earlier process of the hub sent.

For adapters that have to find out whose something is that they come upon at the far side.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class PastCall:
    """A call that was handed to the adapter at least once. `device` and `note` are the adapter's own words; `ended_at`
    is None while it is open; `unknown`: it ended and nobody can tell whether it was carried out."""

    device: str
    method: str
    target: str
    ended_at: datetime | None = None
    note: bytes | None = None
    unknown: bool = False


@runtime_checkable
class RecallsCalls(Protocol):
    """What a context offers to adapters whose far side may hold what no answer told of, beside `AdapterContext`."""

    def calls_since(self, since: datetime) -> AsyncIterator[PastCall]:
        """The adapter's calls that were open at `since` or later, oldest first. Raises HubError when they cannot be
        read."""
        ...
