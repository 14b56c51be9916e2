"""Searches of commands, put together from the pieces of `commands.sql`, and the row that each command is found by."""

from __future__ import annotations

import sqlite3
from typing import Any

from hub.engines.sqlite import sql
from hub.engines.sqlite.conditions import Conditions
from hub.engines.sqlite.page import page
from hub.model.call import CallSpec
from hub.model.command import SHAPE, CommandFacets
from hub.model.query import Query, stretch
from hub.ports.engine import JobPage

_SQL = sql.load("commands")
_CONDITIONS = Conditions({name: _SQL[name] for name in SHAPE})

INSERT = _SQL["insert"]


def row(spec: CallSpec, facets: CommandFacets) -> tuple[Any, ...]:
    """The values of INSERT after the call's number."""
    return (
        spec.application, facets.organisation, spec.device, int(facets.kind), facets.target, facets.name,
        facets.timeout, facets.pending,
    )  # fmt: skip


def search(
    connection: sqlite3.Connection, application: str, organisation: str, device: str, query: Query
) -> JobPage:
    """The page of a query among the commands that an organisation gave a device, and its place. Raises OutOfRange."""
    whose = (application, device, organisation)
    rows, conditions = _SQL["from_device"], list[Any]()
    if query.where is None:
        counted = connection.execute(_SQL["count_all"], whose)
    else:
        rows += f" AND {_CONDITIONS.where(query.where, conditions)}"
        counted = connection.execute(f"{_SQL['count']} {rows}", (*whose, *conditions))
    place = stretch(query, counted.fetchone()[0])
    order = f"ORDER BY {_CONDITIONS.order(query, 'j.call')} {_SQL['page']}"
    return page(connection, f"{_SQL['select']} {rows} {order}", (*whose, *conditions), place)
