"""Searches of jobs, put together from the pieces of `jobs.sql`.

A condition finds here exactly the rows that `hub.model.query` finds over the view of the same jobs; a test
compares the two.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from hub.engines.sqlite import sql
from hub.engines.sqlite.moments import to_micros
from hub.engines.sqlite.rows import read_call, read_outcome
from hub.model.call import CallState
from hub.model.job import JobState, described, status_of
from hub.model.query import Attribute, Compare, Condition, Every, Form, Not, Operator, Query, like, stretch
from hub.ports.engine import JobPage

_SQL = sql.load("jobs")

INSERT = _SQL["insert"]

_SAME = (
    "id", "resource_action", "resource_type", "resource_id", "resource_name", "state", "phase", "start_time",
    "end_time", "step_order", "user",
)  # fmt: skip
_EXPRESSIONS: dict[str, str] = {
    **{name: _SQL[name] for name in _SAME},
    "root_id": _SQL["id"],
    "description_l10n": _SQL["description"],
    "progress_percentage": _SQL["progress"],
    "response_status": _SQL["status"],
    "response_status_l10n": _SQL["status"],
    "resource_action_l10n": _SQL["resource_action"],
    "resource_type_l10n": _SQL["resource_type"],
    "state_l10n": _SQL["phase"],
    "phase_l10n": _SQL["phase"],
    "estimated_completion_time": _SQL["unset"],
    "parent_id": _SQL["unset"],
}
_SIGNS = {
    Operator.EQ: "=", Operator.NEQ: "<>", Operator.GT: ">", Operator.GTE: ">=", Operator.LT: "<", Operator.LTE: "<=",
}  # fmt: skip
_OPEN = frozenset(word for state in JobState if not state.final for word in (state.value.lower(),))


def register(connection: sqlite3.Connection) -> None:
    """Give a reading connection the functions that the pieces name."""
    connection.create_function("job_like", 2, like, deterministic=True)
    connection.create_function("job_described", 2, described, deterministic=True)
    connection.create_function("job_status", 1, _status, deterministic=True)


def search(connection: sqlite3.Connection, account: str, device: str, query: Query) -> JobPage:
    """The page of a query among the jobs of one array, and its place. Raises OutOfRange."""
    rows, bound = _rows(account, device, query.where)
    conditions: list[Any] = []
    if query.where is None:
        counted = connection.execute(_SQL["count_all"], (account, device))
    else:
        rows += f" AND {_condition(query.where, conditions)}"
        counted = connection.execute(f"{_SQL['count']} {rows}", (*bound, *conditions))
    place = stretch(query, counted.fetchone()[0])
    if not place.count:
        return JobPage((), place)
    text = f"{_SQL['select']} {rows} ORDER BY {_order(query)} {_SQL['page']}"
    found = connection.execute(text, (*bound, *conditions, place.count, place.first))
    return JobPage(tuple(_states(found)), place)


def _states(rows: Iterable[tuple[Any, ...]]) -> Iterable[CallState]:
    return (read_call(row) for row in rows)


def _rows(account: str, device: str, where: Condition | None) -> tuple[str, tuple[Any, ...]]:
    """Where the search begins: at the ids it names, at what is open, else at all jobs of the array."""
    needed = where.conditions if isinstance(where, Every) else () if where is None else (where,)
    for one in needed:
        if not isinstance(one, Compare) or one.operator not in (Operator.EQ, Operator.IN):
            continue
        values = one.value if isinstance(one.value, tuple) else (one.value,)
        if one.attribute.name == "id":
            return _SQL["from_ids"], (json.dumps(values), account, device)
        if one.attribute.name in ("state", "phase") and _OPEN.issuperset(values):
            return _SQL["from_open"], (account, device)
    return _SQL["from_array"], (account, device)


def _condition(condition: Condition, bound: list[Any]) -> str:
    if isinstance(condition, Not):
        return f"(NOT {_condition(condition.condition, bound)})"
    if isinstance(condition, Compare):
        return _compare(condition, bound)
    joint = " AND " if isinstance(condition, Every) else " OR "
    return f"({joint.join([_condition(inner, bound) for inner in condition.conditions])})"


def _compare(compare: Compare, bound: list[Any]) -> str:
    expression = _EXPRESSIONS.get(compare.attribute.name, _SQL["unset"])
    if compare.operator is Operator.IS:
        return f"({expression}) IS NULL"
    if compare.operator is Operator.ILIKE:
        bound.append(compare.value)
        return f"job_like(?, {expression})"
    if compare.attribute.caseless:
        expression = f"lower({expression})"
    if compare.operator is Operator.IN:
        # `NULL IN ()` is false in SQL, where it should be neither.
        bound.append(json.dumps([_value(compare.attribute, value) for value in compare.value]))
        return f"CASE WHEN ({expression}) IS NULL THEN NULL ELSE ({expression}) IN (SELECT value FROM json_each(?)) END"
    bound.append(_value(compare.attribute, compare.value))
    return f"({expression}) {_SIGNS[compare.operator]} ?"


def _value(attribute: Attribute, value: Any) -> Any:
    return to_micros(value) if attribute.form is Form.MOMENT and isinstance(value, datetime) else value


def _order(query: Query) -> str:
    ranks = []
    for rank in query.order:
        expression = _EXPRESSIONS.get(rank.attribute.name, _SQL["unset"])
        if rank.attribute.caseless:
            expression = f"lower({expression})"
        way = " DESC" if rank.descending else ""
        ranks.append(f"({expression}) IS NULL{way}, ({expression}){way}")
    return ", ".join([*ranks, "j.call"])


def _status(body: bytes | None) -> str | None:
    return None if body is None else str(status_of(read_outcome(body)))
