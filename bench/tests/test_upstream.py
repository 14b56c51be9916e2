"""The benchmark of job upstreams, small: it counts on both sides and loses nothing."""

from __future__ import annotations

import asyncio

from bench.rows.upstream import run


def test_many_dashboards_ask_more_than_one_hub_and_every_end_is_pushed() -> None:
    told = asyncio.run(run(jobs=6, dashboards=4, longest=1.5, seed=1))

    assert 0 < told["questions"] < told["dashboards"]
    assert 0 < told["median_ms"] <= told["p99_ms"] < 10_000
