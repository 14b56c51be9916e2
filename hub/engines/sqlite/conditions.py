"""The conditions and orders of a query as SQL, put together from fixed pieces; every value is bound.

What is found is exactly what `hub.model.query` finds over the view of the same rows; tests compare the two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hub.engines.sqlite.moments import to_micros
from hub.model.query import Attribute, Compare, Condition, Every, Form, Not, Operator, Query

_SIGNS = {
    Operator.EQ: "=", Operator.NEQ: "<>", Operator.GT: ">", Operator.GTE: ">=", Operator.LT: "<", Operator.LTE: "<=",
}  # fmt: skip


class Conditions:
    """The language of one kind of rows: `expressions` are its attributes by name, `unset` stands for any other."""

    def __init__(self, expressions: Mapping[str, str], unset: str = "NULL") -> None:
        self._expressions = expressions
        self._unset = unset

    def where(self, condition: Condition, bound: list[Any]) -> str:
        """A condition; its values are added to `bound`."""
        if isinstance(condition, Not):
            return f"(NOT {self.where(condition.condition, bound)})"
        if isinstance(condition, Compare):
            return self._compare(condition, bound)
        joint = " AND " if isinstance(condition, Every) else " OR "
        return f"({joint.join([self.where(inner, bound) for inner in condition.conditions])})"

    def order(self, query: Query, last: str) -> str:
        """The order of a query's rows; `last` decides between equals."""
        ranks = []
        for rank in query.order:
            expression = self._expressions.get(rank.attribute.name, self._unset)
            if rank.attribute.caseless:
                expression = f"lower({expression})"
            ranks.append(f"({expression}) {'DESC NULLS FIRST' if rank.descending else 'ASC NULLS LAST'}")
        return ", ".join([*ranks, last])

    def _compare(self, compare: Compare, bound: list[Any]) -> str:
        expression = self._expressions.get(compare.attribute.name, self._unset)
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
            found = f"({expression}) IN (SELECT value FROM json_each(?))"
            return f"CASE WHEN ({expression}) IS NULL THEN NULL ELSE {found} END"
        bound.append(_value(compare.attribute, compare.value))
        return f"({expression}) {_SIGNS[compare.operator]} ?"


def _value(attribute: Attribute, value: Any) -> Any:
    return to_micros(value) if attribute.form is Form.MOMENT and isinstance(value, datetime) else value
