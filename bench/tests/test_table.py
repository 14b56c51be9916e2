"""How scores are told."""

from __future__ import annotations

import json

import pytest

from bench.row import Lap, Row, Size, discover
from bench.rows.post import ROWS
from bench.run import Reading, Score
from bench.table import Report

ROW: Row = ROWS[0]


def score(hub: list[Reading], other: list[Reading]) -> Score:
    return Score(ROW, Size(calls=10), {"hub": hub, "starlette": other})


def reading(figure: float, **lap: object) -> Reading:
    return Reading(figure, Lap(units=10, p50=1.0, p99=2.0, **lap))  # type: ignore[arg-type]


def report(*scores: Score, facts: dict[str, object] | None = None) -> Report:
    return Report(scores, facts or {"file system": "ext4"}, [0.1, 0.2, 0.3], [0.4, 0.5, 0.6])


def test_ratios_are_taken_within_a_round() -> None:
    # A machine that is twice as slow in the second round changes no ratio.
    told = score([reading(10), reading(20), reading(12)], [reading(20), reading(40), reading(20)])

    assert told.ratios("hub", "starlette") == [0.5, 0.5, 0.6]
    assert "0.50 (0.50..0.60)" in report(told).text()


def test_a_loss_is_a_fault_in_the_table_and_in_the_tree() -> None:
    bad = report(score([reading(10, lost=3, failed={"POST answered 429": 2})], [reading(20)]))

    assert "3 FAULT" in bad.text()
    assert "FAULT: post, hub, round 1: 3 lost, 0 doubled, 2 x POST answered 429" in bad.text()
    assert bad.tree()["rows"][0]["faults"]


@pytest.mark.parametrize("fault", [{"lost": 1}, {"doubled": 1}, {"failed": {"x": 1}}])
def test_any_fault_makes_a_row_unclean(fault: dict[str, object]) -> None:
    assert score([reading(10, **fault)], [reading(20)]).faults
    assert not score([reading(10)], [reading(20)]).faults


def test_a_data_folder_in_memory_is_pointed_out() -> None:
    assert "where a sync costs nothing" in report(facts={"file system": "tmpfs"}).text()


def test_the_tree_is_plain_data() -> None:
    tree = json.loads(json.dumps(report(score([reading(10)], [reading(20)])).tree()))

    assert tree["rows"][0]["readings"]["hub"][0]["lap"]["units"] == 10


def test_every_row_is_found_and_says_what_it_counts() -> None:
    rows = discover()

    known = {"post", "post-pelion", "unicast", "unicast-1", "fanout-1", "fanout-16", "idle", "lwm2m", "lwm2m-device"}
    assert known <= set(rows)
    assert all(row.counted and row.name == name for name, row in rows.items())
