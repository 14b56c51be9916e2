"""Moments and spans as the file holds them: whole microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """An aware datetime as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def to_moment(micros: int) -> datetime:
    """Microseconds since 1970 as an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def span_to_micros(span: timedelta | None) -> int | None:
    return None if span is None else span // _MICROSECOND


def to_span(micros: int | None) -> timedelta | None:
    return None if micros is None else timedelta(microseconds=micros)
