"""The cache alone: ages, forms, forgetting, bounds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hub.core.cache import Cache
from tests.clock import ManualClock

LAMP = ("scripted", "lamp")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def cache(clock: ManualClock) -> Cache:
    return Cache(clock, entries=3, size=100)


def look(cache: Cache, target: str = "/a", accept: str | None = None) -> bytes | None:
    found = cache.look(LAMP, target, accept)
    return None if found is None else found[0].payload


def test_a_value_is_kept_for_its_age_and_tells_what_is_left_of_it(cache: Cache, clock: ManualClock) -> None:
    cache.keep(LAMP, "/a", None, b"1", "text/plain", MINUTE)
    clock.advance(45)
    found = cache.look(LAMP, "/a", None)
    clock.advance(15)

    assert found is not None and found[1] == timedelta(seconds=15)
    assert look(cache) is None
    assert len(cache) == 0


def test_no_value_is_kept_longer_than_three_days(cache: Cache, clock: ManualClock) -> None:
    cache.keep(LAMP, "/a", None, b"1", None, timedelta(days=30))
    clock.advance(3 * 86_400 - 1)
    assert look(cache) == b"1"
    clock.advance(1)
    assert look(cache) is None


@pytest.mark.parametrize("age", [None, timedelta(0)])
def test_a_value_without_an_age_is_not_kept_and_replaces_what_was(cache: Cache, age: timedelta | None) -> None:
    cache.keep(LAMP, "/a", None, b"1", None, MINUTE)
    cache.keep(LAMP, "/a", None, b"2", None, age)

    assert look(cache) is None


def test_each_form_is_kept_by_itself(cache: Cache) -> None:
    cache.keep(LAMP, "/a", "text/plain", b"1", "text/plain", MINUTE)
    cache.keep(LAMP, "/a", "application/json", b"[1]", "application/json", MINUTE)

    assert look(cache, accept="text/plain") == b"1"
    assert look(cache, accept="application/json") == b"[1]"
    assert look(cache) is None


def test_a_value_that_came_by_itself_serves_those_who_want_its_form(cache: Cache) -> None:
    cache.news(LAMP, "/a", b"1", "text/plain", MINUTE)

    assert (look(cache), look(cache, accept="text/plain"), look(cache, accept="text/csv")) == (b"1", b"1", None)


def test_news_replace_every_form_of_their_target_only(cache: Cache) -> None:
    cache.keep(LAMP, "/a", "text/csv", b"old", "text/csv", MINUTE)
    cache.keep(LAMP, "/b", None, b"other", None, MINUTE)
    cache.news(LAMP, "/a", b"new", "text/plain", None)

    assert (look(cache, accept="text/csv"), look(cache), look(cache, "/b")) == (None, None, b"other")


def test_nothing_is_kept_between_a_change_and_the_end_of_all_calls(cache: Cache) -> None:
    cache.keep(LAMP, "/a", None, b"1", None, MINUTE)
    cache.changing(LAMP)
    gone = look(cache)
    cache.keep(LAMP, "/a", None, b"maybe older than the change", None, MINUTE)
    cache.news(LAMP, "/a", b"this too", None, MINUTE)
    unsettled = look(cache)
    cache.settled(LAMP)
    cache.keep(LAMP, "/a", None, b"2", None, MINUTE)

    assert (gone, unsettled, look(cache)) == (None, None, b"2")


def test_a_change_of_one_device_leaves_the_others_alone(cache: Cache) -> None:
    cache.keep(LAMP, "/a", None, b"1", None, MINUTE)
    cache.changing(("scripted", "other"))

    assert look(cache) == b"1"


def test_the_oldest_go_when_there_are_too_many(cache: Cache) -> None:
    for name in "abcd":
        cache.keep(LAMP, f"/{name}", None, b"1", None, MINUTE)

    assert [look(cache, f"/{name}") for name in "abcd"] == [None, b"1", b"1", b"1"]


def test_the_oldest_go_when_they_are_too_large(cache: Cache) -> None:
    cache.keep(LAMP, "/a", None, bytes(60), None, MINUTE)
    cache.keep(LAMP, "/b", None, bytes(60), None, MINUTE)
    cache.keep(LAMP, "/c", None, bytes(101), None, MINUTE)

    assert len(cache) == 0


def test_the_names_of_what_was_decoded_count_too(clock: ManualClock) -> None:
    cache = Cache(clock, entries=1000, size=10_000)
    for n in range(10):
        cache.keep(LAMP, f"/{n}", None, b"1", None, MINUTE, [{"n": "/" + "x" * 3000, "v": 1}])

    assert [look(cache, f"/{n}") for n in range(10)] == [None] * 7 + [b"1"] * 3
