"""The benchmark of job upstreams, small: it counts on both sides and loses nothing."""

from __future__ import annotations

import asyncio

from bench.row import accounts
from bench.rows.upstream import run


def test_many_dashboards_ask_more_than_one_hub_and_every_end_is_pushed() -> None:
    told = asyncio.run(run(jobs=6, dashboards=4, longest=0.5, seed=1))

    assert 0 < told["questions"] < told["dashboards"]
    assert 0 < told["median_ms"] <= told["p99_ms"] < 10_000


def test_the_account_tells_what_is_saved_and_how_soon_an_end_is_pushed() -> None:
    figures = {
        "jobs": 200.0, "longest": 30.0, "who": 100.0, "questions": 50.0, "dashboards": 5000.0, "saved": 0.99,
        "median_ms": 480.4, "p99_ms": 1900.0,
    }  # fmt: skip
    said = "\n".join(accounts()["upstream"].lines(figures))

    for part in ("50 by the hub", "5000 by 100 dashboards", "99.0% saved", "median 480 ms", "p99 1900 ms"):
        assert part in said
