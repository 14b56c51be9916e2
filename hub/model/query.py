"""A query over rows of plain attributes: what to select, which rows, in which order, which stretch of them. Pure.

`query_text.py` reads one from the parameters of a request. Here it is applied to rows in memory, by a simulated array
and by the view of jobs; an engine may compile the same conditions for its own storage, and must then find the same
rows. Comparisons with what is not set are neither true nor false, as in SQL.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hub.model.errors import OutOfRange

DEFAULT_LIMIT = 100
MOST_LIMIT = 2000

Row = Mapping[str, Any]


class Form(enum.Enum):
    """What an attribute holds. WORD: one of an enumeration, compared without case. ONE, MANY: related instances."""

    TEXT = "text"
    WORD = "word"
    NUMBER = "number"
    FLAG = "flag"
    MOMENT = "moment"
    OBJECT = "object"
    LIST = "list"
    ONE = "one"
    MANY = "many"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a type; `type` is that of related instances."""

    name: str
    form: Form = Form.TEXT
    type: str | None = None

    @property
    def related(self) -> bool:
        """Whether it leads to other instances."""
        return self.form in (Form.ONE, Form.MANY)

    @property
    def caseless(self) -> bool:
        """Whether texts of it are compared without case: words, and whatever is called `name`."""
        return self.form is Form.WORD or self.name == "name"


Shape = Mapping[str, Attribute]
"""The attributes of a type by name."""

Shapes = Mapping[str, Shape]
"""Types by name."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A selected attribute; `inner` is what of related instances is selected."""

    name: str
    inner: tuple[Chosen, ...] | None = None


class Operator(enum.Enum):
    """How an attribute is compared."""

    EQ = "eq"
    NEQ = "neq"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    ILIKE = "ilike"
    IN = "in"
    IS = "is"
    CS = "cs"
    CD = "cd"


@dataclass(frozen=True, slots=True)
class Compare:
    """One comparison. `value` is of the attribute's form (folded where `attribute.caseless`), a tuple of such for IN,
    CS and CD, None, True or False for IS. `path` reaches into an embedded object, whose parts are texts."""

    attribute: Attribute
    operator: Operator
    value: Any
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite; of what is neither true nor false, neither."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Every:
    """All of them."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of them."""

    conditions: tuple[Condition, ...]


Condition = Compare | Not | Every | Either


@dataclass(frozen=True, slots=True)
class Rank:
    """One step of an order; what is not set comes last, or first where the order is descending."""

    attribute: Attribute
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A query of one type."""

    select: tuple[Chosen, ...] = (Chosen("id"),)
    where: Condition | None = None
    order: tuple[Rank, ...] = ()
    offset: int = 0
    limit: int = DEFAULT_LIMIT


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where a page lies: `total` counts all that the conditions let through. `whole`: the page is everything."""

    first: int
    count: int
    total: int

    @property
    def whole(self) -> bool:
        """Whether nothing is before or behind the page."""
        return self.first == 0 and self.count == self.total

    def __str__(self) -> str:
        return f"{self.first}-{self.first + self.count - 1}/{self.total}"


def stretch(query: Query, total: int) -> Stretch:
    """The place of a query's page among `total` rows. Raises OutOfRange when it begins behind the last one."""
    if query.offset and query.offset >= total:
        raise OutOfRange(f"The offset {query.offset} is past the end of {total} instances.")
    return Stretch(query.offset, max(0, min(query.limit, total - query.offset)), total)


def apply(query: Query, rows: Iterable[Row]) -> tuple[list[Row], Stretch]:
    """The rows of the query's page, whole, and the place of the page. Raises OutOfRange."""
    found = [row for row in rows if query.where is None or holds(query.where, row)]
    for rank in reversed((*query.order, Rank(Attribute("id")))):
        found.sort(key=lambda row, rank=rank: _sort_key(rank.attribute, row), reverse=rank.descending)  # type: ignore[misc]
    place = stretch(query, len(found))
    return found[place.first : place.first + place.count], place


Follow = Callable[[Row, Attribute], Row | Sequence[Row] | None]
"""The related instances of a row: a sequence for MANY, one or None for ONE."""


def project(row: Row, select: Iterable[Chosen], shapes: Shapes, type: str, follow: Follow) -> dict[str, Any]:
    """The selected attributes of a row and nothing else; what is not set is None."""
    shape = shapes[type]
    told: dict[str, Any] = {}
    for chosen in select:
        attribute = shape[chosen.name]
        if not attribute.related:
            told[chosen.name] = row.get(chosen.name)
            continue
        inner = chosen.inner or (Chosen("id"),)
        found = follow(row, attribute)
        if attribute.form is Form.MANY:
            many = found if isinstance(found, Sequence) else ()
            told[chosen.name] = [project(one, inner, shapes, attribute.type or type, follow) for one in many]
        elif isinstance(found, Mapping):
            told[chosen.name] = project(found, inner, shapes, attribute.type or type, follow)
        else:
            told[chosen.name] = None
    return told


def holds(condition: Condition, row: Row) -> bool:
    """Whether a row is let through."""
    return _judged(condition, row) is True


def folded(text: str) -> str:
    """A text for comparison without case; of ASCII letters only, as databases do it."""
    return text.translate(_FOLD)


def like(pattern: str, text: str | None) -> bool | None:
    """Whether a text has the form of a pattern, in which `*` stands for anything; without case."""
    if text is None:
        return None
    first, *rest = folded(pattern).split("*")
    text = folded(text)
    if not rest:
        return text == first
    if not text.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(text) - len(rest[-1]) >= at and text.endswith(rest[-1])


def as_moment(value: Any) -> datetime | None:
    """A moment from itself or from ISO 8601 text; one without an offset is UTC. None for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        # The first day of the calendar, east of Greenwich.
        return None


_FOLD = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def _judged(condition: Condition, row: Row) -> bool | None:
    if isinstance(condition, Not):
        judged = _judged(condition.condition, row)
        return None if judged is None else not judged
    if isinstance(condition, Compare):
        return _compared(condition, row)
    unsure = False
    stop = isinstance(condition, Either)
    for inner in condition.conditions:
        judged = _judged(inner, row)
        if judged is stop:
            return stop
        unsure = unsure or judged is None
    return None if unsure else not stop


def _compared(compare: Compare, row: Row) -> bool | None:
    value = row.get(compare.attribute.name)
    for part in compare.path:
        value = value.get(part) if isinstance(value, Mapping) else None
    if compare.path and value is not None and not isinstance(value, str):
        value = str(value)
    if compare.operator is Operator.IS:
        return value is compare.value
    if value is None:
        return None
    if compare.operator is Operator.ILIKE:
        return like(compare.value, value) if isinstance(value, str) else None
    if compare.operator in (Operator.CS, Operator.CD):
        held, asked = {str(item) for item in value} if isinstance(value, list | tuple) else set(), set(compare.value)
        return asked <= held if compare.operator is Operator.CS else held <= asked
    comparable = _comparable(compare.attribute, value)
    return None if comparable is None else _ordered(compare.operator, comparable, compare.value)


def _ordered(operator: Operator, left: Any, right: Any) -> bool:
    match operator:
        case Operator.EQ:
            return bool(left == right)
        case Operator.NEQ:
            return bool(left != right)
        case Operator.GT:
            return bool(left > right)
        case Operator.GTE:
            return bool(left >= right)
        case Operator.LT:
            return bool(left < right)
        case Operator.LTE:
            return bool(left <= right)
        case _:
            return left in right


def _comparable(attribute: Attribute, value: Any) -> Any:
    match attribute.form:
        case Form.MOMENT:
            return as_moment(value)
        case Form.NUMBER:
            return value if isinstance(value, int | float) else None
        case Form.FLAG:
            return value if isinstance(value, bool) else None
        case _:
            return folded(str(value)) if attribute.caseless else str(value)


def _sort_key(attribute: Attribute, row: Row) -> tuple[bool, Any]:
    value = row.get(attribute.name)
    comparable = None if value is None else _comparable(attribute, value)
    return (comparable is None, 0 if comparable is None else comparable)
