"""When to try a delivery again: attempts in, next time out. Pure (delivery-guarantees F3, F4)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

PAUSES: tuple[timedelta, ...] = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
TRIES = len(PAUSES) + 1
SPREAD = 0.2
MOST_PATIENCE = timedelta(hours=1)
"""The longest Retry-After that is obeyed."""


class Result(enum.Enum):
    """What an attempt came to. GONE (410): the receiver wants no more of it."""

    TAKEN = "taken"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt that is over; `error` says in a few words why it failed, without anything of the URL."""

    result: Result
    error: str = ""
    retry_after: timedelta | None = None


def judged(status: int, retry_after: str | None, now: datetime) -> Tried:
    """The attempt by the receiver's answer: any 2xx is success, 3xx is a failure like any other."""
    if 200 <= status < 300:
        return Tried(Result.TAKEN)
    if status == 410:
        return Tried(Result.GONE, "HTTP 410")
    patience = parse_retry_after(retry_after, now) if status in (429, 503) else None
    return Tried(Result.FAILED, f"HTTP {status}", patience)


def next_try(failed: int, now: datetime, luck: float, retry_after: timedelta | None = None) -> datetime | None:
    """When to try again after `failed` attempts (this one included), None after the last.

    `luck` in 0..1 spreads the pause over -20 % to +20 %. A receiver's Retry-After can make the pause longer only.
    """
    if failed >= TRIES:
        return None
    pause = PAUSES[max(0, failed - 1)] * (1 - SPREAD + 2 * SPREAD * luck)
    if retry_after is not None:
        pause = max(pause, min(retry_after, MOST_PATIENCE))
    return now + pause


def parse_retry_after(text: str | None, now: datetime) -> timedelta | None:
    """Seconds or an HTTP date, at most an hour; None for nothing, nonsense or the past."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=int(text[:9])), MOST_PATIENCE)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return min(at - now, MOST_PATIENCE) if at > now else None
