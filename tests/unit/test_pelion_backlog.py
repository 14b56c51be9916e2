"""The weight of a queue: bounded, the oldest given up, in steps and not event by event."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from hub.dialects.pelion.callback_reader import pause_after
from hub.dialects.pelion.channel_backlog import OVERHEAD, STEP, Backlog, weigh
from hub.model.event import Event, EventKind

MOST = 10_000


@given(st.lists(st.integers(1, MOST // 2), max_size=200))
def test_what_waits_is_never_more_than_the_limit_and_always_the_newest(weights: list[int]) -> None:
    backlog = Backlog(MOST)
    for offset, weight in enumerate(weights, 1):
        backlog.add(offset, weight)

        assert backlog.bytes <= MOST
        assert backlog.bytes == sum(weights[backlog.lost : offset])
        # Not a step more is given up than must be.
        if backlog.lost:
            assert backlog.bytes > MOST - weight - max(MOST // 16, *weights[:offset])


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 3)), max_size=200))
def test_what_was_taken_waits_no_more(steps: list[tuple[int, int]]) -> None:
    backlog = Backlog(MOST)
    weights: list[int] = []
    taken = 0
    for weight, lag in steps:
        weights.append(weight)
        backlog.add(len(weights), weight)
        taken = max(taken, len(weights) - lag)
        backlog.moved(taken)

        # Counted in steps: what is still counted of the taken is less than one of them.
        waiting = sum(weights[taken:])
        assert waiting <= backlog.bytes <= waiting + MOST // 16
        assert backlog.lost == 0


def test_an_event_that_is_over_the_limit_by_itself_waits_all_the_same() -> None:
    backlog = Backlog(MOST)
    backlog.add(1, 10)
    backlog.add(2, MOST * 2)

    assert (backlog.lost, backlog.bytes) == (1, MOST * 2)


def test_fifty_megabytes_are_some_hundred_marks() -> None:
    backlog = Backlog(50_000_000)
    for offset in range(200_000):
        backlog.add(offset + 1, 356)

    assert len(backlog._marks) <= 50_000_000 // (STEP // 2)
    assert 120_000 <= 200_000 - backlog.lost <= 160_000


def test_an_event_weighs_its_payload_its_names_and_its_storage() -> None:
    body = {"ref": "r" * 10, "payload": b"x" * 100, "status": 200}
    event = Event("shop/default", "e", 1, datetime(2026, 1, 1, tzinfo=UTC), EventKind.COMPLETION, body)

    assert weigh(event) == OVERHEAD + 110


def test_pauses_double_up_to_two_minutes() -> None:
    pauses = [pause_after(failures).total_seconds() for failures in range(1, 12)]

    assert pauses == [1, 2, 4, 8, 16, 32, 64, 120, 120, 120, 120]
    assert pause_after(10**9).total_seconds() == 120
