"""Searches of jobs, put together from the pieces of `jobs.sql`.

A condition finds here exactly the rows that `hub.model.query` finds over the view of the same jobs; a test
compares the two.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from hub.engines.sqlite import sql
from hub.engines.sqlite.conditions import Conditions
from hub.engines.sqlite.page import page
from hub.engines.sqlite.rows import read_outcome
from hub.model.call import Stage
from hub.model.job import JobState, described, state_of, status_of
from hub.model.outcome import Outcome
from hub.model.query import Compare, Condition, Every, Operator, Query, like, stretch
from hub.ports.engine import JobPage

_SQL = sql.load("jobs")

INSERT = _SQL["insert"]
ENDED = _SQL["ended"]

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
_CONDITIONS = Conditions(_EXPRESSIONS, _SQL["unset"])
_OPEN = frozenset(word for state in JobState if not state.final for word in (state.value.lower(),))


def register(connection: sqlite3.Connection) -> None:
    """Give a reading connection the functions that the pieces name."""
    connection.create_function("job_like", 2, like, deterministic=True)
    connection.create_function("job_described", 2, described, deterministic=True)
    connection.create_function("job_state", 1, _state, deterministic=True)
    connection.create_function("job_status", 1, _status, deterministic=True)


def search(connection: sqlite3.Connection, account: str, device: str, query: Query) -> JobPage:
    """The page of a query among the jobs of one array, and its place. Raises OutOfRange."""
    rows, bound = _rows(account, device, query.where)
    conditions: list[Any] = []
    if query.where is None:
        counted = connection.execute(_SQL["count_all"], (account, device))
    else:
        rows += f" AND {_CONDITIONS.where(query.where, conditions)}"
        counted = connection.execute(f"{_SQL['count']} {rows}", (*bound, *conditions))
    place = stretch(query, counted.fetchone()[0])
    order = f"ORDER BY {_CONDITIONS.order(query, 'j.call')} {_SQL['page']}"
    return page(connection, f"{_SQL['select']} {rows} {order}", (*bound, *conditions), place)


def ended(outcome: Outcome) -> tuple[str, str]:
    """The state and the status that a job has from its end on."""
    return state_of(Stage.DONE, outcome).value, str(status_of(outcome))


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


# Of jobs that ended before the two were written at the end.
def _state(body: bytes | None) -> str | None:
    return None if body is None else ended(read_outcome(body))[0]


def _status(body: bytes | None) -> str | None:
    return None if body is None else ended(read_outcome(body))[1]
