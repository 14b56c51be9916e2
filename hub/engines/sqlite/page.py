"""The page of a search: its rows are found by their numbers, and only those of the page are read whole."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from hub.engines.sqlite import sql
from hub.engines.sqlite.rows import read_call
from hub.model.query import Stretch
from hub.ports.engine import JobPage

_NUMBERED = sql.load("journal")["numbered"]


def page(connection: sqlite3.Connection, numbers: str, bound: tuple[Any, ...], place: Stretch) -> JobPage:
    """The calls whose numbers a statement finds; its last two parameters are how many, and behind how many."""
    if not place.count:
        return JobPage((), place)
    found = [number for (number,) in connection.execute(numbers, (*bound, place.count, place.first))]
    rows = connection.execute(_NUMBERED, (json.dumps(found),))
    return JobPage(tuple([read_call(row) for row in rows]), place)
