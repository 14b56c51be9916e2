"""The schedule of retries, without any clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hub.delivery.outgoing.retry import PAUSES, TRIES, Result, judged, next_try, parse_retry_after

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_ten_tries_take_75_hours_35_minutes_and_5_seconds() -> None:
    at, tries = NOW, 1
    while (following := next_try(tries, at, 0.5)) is not None:
        at, tries = following, tries + 1
    assert (tries, at - NOW) == (10, timedelta(hours=75, minutes=35, seconds=5))


@pytest.mark.parametrize(("luck", "factor"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_each_pause_is_spread_by_a_fifth(luck: float, factor: float) -> None:
    for failed, pause in enumerate(PAUSES, 1):
        assert next_try(failed, NOW, luck) == NOW + pause * factor


def test_after_the_last_try_there_is_none_whatever_the_receiver_asks_for() -> None:
    assert next_try(TRIES, NOW, 0.5, timedelta(seconds=1)) is None


@pytest.mark.parametrize(
    ("failed", "asked", "expected"),
    [(1, timedelta(minutes=10), timedelta(minutes=10)), (1, timedelta(seconds=1), timedelta(seconds=5)),
     (1, timedelta(days=1), timedelta(hours=1)), (4, timedelta(hours=1), timedelta(hours=2))],
)  # fmt: skip
def test_retry_after_makes_the_pause_longer_by_an_hour_at_most(
    failed: int, asked: timedelta, expected: timedelta
) -> None:
    assert next_try(failed, NOW, 0.5, asked) == NOW + expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30", 30), (" 7 ", 7), ("0", 0), ("999999999999", 3600), ("Thu, 01 Jan 2026 12:02:00 GMT", 120),
     ("Thu, 01 Jan 2026 12:02:00", 120), ("Fri, 02 Jan 2026 12:00:00 GMT", 3600)],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_as_a_date(text: str, expected: int) -> None:
    assert parse_retry_after(text, NOW) == timedelta(seconds=expected)


@pytest.mark.parametrize("text", [None, "", "soon", "-1", "1.5", "٣", "Wed, 31 Dec 2025 12:00:00 GMT", "99 99", "\x00"])
def test_nonsense_and_the_past_are_no_retry_after(text: str | None) -> None:
    assert parse_retry_after(text, NOW) is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, Result.TAKEN), (202, Result.TAKEN), (204, Result.TAKEN), (299, Result.TAKEN), (301, Result.FAILED),
     (304, Result.FAILED), (307, Result.FAILED), (400, Result.FAILED), (404, Result.FAILED), (410, Result.GONE),
     (429, Result.FAILED), (500, Result.FAILED), (503, Result.FAILED)],
)  # fmt: skip
def test_what_each_status_means(status: int, expected: Result) -> None:
    assert judged(status, None, NOW).result is expected


@pytest.mark.parametrize(("status", "obeyed"), [(429, True), (503, True), (500, False), (302, False)])
def test_retry_after_counts_with_429_and_503(status: int, obeyed: bool) -> None:
    assert (judged(status, "60", NOW).retry_after is not None) is obeyed
