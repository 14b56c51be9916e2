"""Reading a query from the parameters of a request, strictly: what is not known is refused, never ignored. Pure.

    select=id,state,children(id)      order=start_time.desc,id      limit=100   offset=0
    state=not.in.(COMPLETED,FAILED)   start_time=gte.2026-02-03T00:00:00Z   or=(state.eq.FAILED,user.ilike.a*)

Parameters are decoded already. Refusals carry a code word: `unknown-attribute`, `bad-query`, `bad-range`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from hub.model.errors import BadRequest, OutOfRange
from hub.model.query import (
    DEFAULT_LIMIT,
    MOST_LIMIT,
    Attribute,
    Chosen,
    Compare,
    Condition,
    Either,
    Every,
    Form,
    Not,
    Operator,
    Query,
    Rank,
    Shape,
    Shapes,
    as_moment,
    folded,
)

MOST_CONDITIONS = 256
MOST_NESTED = 8

_GROUPS: dict[str, type[Every | Either]] = {"and": Every, "or": Either}
_NUMBER = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?", re.ASCII)
_WHOLE = re.compile(r"(-?)([0-9]+)", re.ASCII)
_RANGE = re.compile(r"([0-9]+)-([0-9]+)", re.ASCII)
_BEYOND = 10**18
"""More than there ever is of anything."""

# What can be asked of which form, beside `is`, which can be asked of all.
_EQUAL = frozenset({Operator.EQ, Operator.NEQ, Operator.IN})
_ORDERED = _EQUAL | {Operator.GT, Operator.GTE, Operator.LT, Operator.LTE}
_OPERATORS: dict[Form, frozenset[Operator]] = {
    Form.TEXT: _ORDERED | {Operator.ILIKE},
    Form.WORD: _ORDERED | {Operator.ILIKE},
    Form.NUMBER: _ORDERED,
    Form.MOMENT: _ORDERED,
    Form.FLAG: _EQUAL,
    Form.LIST: frozenset({Operator.CS, Operator.CD}),
    Form.OBJECT: frozenset(),
}


def parse_query(
    parameters: Iterable[tuple[str, str]], shapes: Shapes, type: str, *, unfiltered: frozenset[str] = frozenset()
) -> Query:
    """The query of a collection. `unfiltered` names attributes that can be selected but not asked for or ordered by.

    Raises BadRequest, OutOfRange (a limit of 0, an offset below 0).
    """
    shape = shapes[type]
    askable = {name: attribute for name, attribute in shape.items() if name not in unfiltered}
    select: tuple[Chosen, ...] = (Chosen("id"),)
    order: tuple[Rank, ...] = ()
    limit, offset = DEFAULT_LIMIT, 0
    conditions: list[Condition] = []
    reader = _Conditions(askable, type)
    for name, value in parameters:
        match name:
            case "select":
                select = parse_select(value, shapes, type)
            case "order":
                order = _order(value, askable, type)
            case "limit":
                limit = min(MOST_LIMIT, _whole(name, value, least=1))
            case "offset":
                offset = _whole(name, value, least=0)
            case _:
                conditions.append(reader.parameter(name, value))
    where: Condition | None = None
    if conditions:
        where = conditions[0] if len(conditions) == 1 else Every(tuple(conditions))
    return Query(select, where, order, offset, limit)


def parse_instance(parameters: Iterable[tuple[str, str]], shapes: Shapes, type: str) -> Query:
    """The query of one instance: its `select`; whatever else is given has no meaning there. Raises BadRequest."""
    select: tuple[Chosen, ...] = (Chosen("id"),)
    for name, value in parameters:
        if name == "select":
            select = parse_select(value, shapes, type)
    return Query(select)


def parse_range(text: str) -> tuple[int, int] | None:
    """Offset and limit of a `first-last` range, both ends counted; None for another form, which is ignored.

    Raises OutOfRange when the last comes before the first.
    """
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        return None
    first, last = _counted(found[1]), _counted(found[2])
    if last < first:
        raise OutOfRange(f"The range {text.strip()} ends before it begins.")
    return first, min(MOST_LIMIT, last - first + 1)


def parse_select(text: str, shapes: Shapes, type: str, depth: int = 0) -> tuple[Chosen, ...]:
    """The selected attributes, in order, each once. `*` is every attribute that is not a relation."""
    shape = shapes[type]
    chosen: dict[str, Chosen] = {}
    for part in split(text):
        name, bracket, inside = part.partition("(")
        name = name.strip()
        if name == "*" and not bracket:
            chosen.update({each.name: Chosen(each.name) for each in shape.values() if not each.related})
            continue
        attribute = _known(name, shape, type)
        if not bracket:
            chosen[name] = Chosen(name)
            continue
        if not attribute.related or not inside.endswith(")") or depth >= MOST_NESTED:
            raise _bad(f"The selection {part} cannot be read.")
        if attribute.type is None or attribute.type not in shapes:
            raise _unknown(name, type)
        chosen[name] = Chosen(name, parse_select(inside[:-1], shapes, attribute.type, depth + 1))
    if not chosen:
        raise _bad("The selection is empty.")
    return tuple(chosen.values())


def split(text: str) -> list[str]:
    """Parts between the commas that stand in no brackets and no quotes, trimmed. Raises BadRequest."""
    parts, level, quoted, start = [], 0, False, 0
    for at, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif char in "({":
            level += 1
        elif char in ")}":
            level -= 1
        elif char == "," and not level:
            parts.append(text[start:at].strip())
            start = at + 1
        if level < 0 or level > MOST_NESTED:
            break
    parts.append(text[start:].strip())
    if level or quoted or not all(parts):
        raise _bad(f"{text} cannot be read.")
    return parts


class _Conditions:
    """Reads the conditions of one query; together they are bounded."""

    def __init__(self, shape: Shape, type: str) -> None:
        self._shape = shape
        self._type = type
        self._count = 0

    def parameter(self, name: str, value: str) -> Condition:
        """A parameter: an attribute with its comparison, or a group."""
        negated, word = _negation(name)
        if word in _GROUPS:
            return self._group(word, value, negated, 0)
        return self._comparison(name, value)

    def _group(self, word: str, text: str, negated: bool, depth: int) -> Condition:
        text = text.strip()
        if depth >= MOST_NESTED or not (text.startswith("(") and text.endswith(")")):
            raise _bad(f"The group {word}={text} cannot be read.")
        group: Condition = _GROUPS[word](tuple(self._member(part, depth) for part in split(text[1:-1])))
        return Not(group) if negated else group

    def _member(self, text: str, depth: int) -> Condition:
        negated, rest = _negation(text)
        for word in _GROUPS:
            for bracket in (f"{word}(", f"{word}=("):
                if rest.startswith(bracket):
                    return self._group(word, rest[len(bracket) - 1 :], negated, depth + 1)
        name, dot, comparison = text.partition(".")
        if not dot:
            raise _bad(f"The condition {text} cannot be read.")
        return self._comparison(name, comparison)

    def _comparison(self, name: str, text: str) -> Condition:
        self._count += 1
        if self._count > MOST_CONDITIONS:
            raise _bad(f"A query has at most {MOST_CONDITIONS} conditions.")
        name, *path = (part.strip() for part in name.split("->>"))
        attribute = _known(name, self._shape, self._type)
        if attribute.related or (path and attribute.form is not Form.OBJECT):
            raise _bad(f"The attribute {name} cannot be filtered by.")
        negated, rest = _negation(text.strip())
        word, dot, value = rest.partition(".")
        try:
            operator = Operator(word.lower())
        except ValueError:
            operator = None
        if operator is None or not dot:
            raise _bad(f"The comparison {name}={text} has no operator that is known.")
        form = Form.TEXT if path else attribute.form
        if operator is not Operator.IS and operator not in _OPERATORS[form]:
            raise _bad(f"The operator {operator.value} cannot be used with {name}.")
        compare = Compare(attribute, operator, self._value(attribute, form, operator, value), tuple(path))
        return Not(compare) if negated else compare

    def _value(self, attribute: Attribute, form: Form, operator: Operator, text: str) -> Any:
        if operator is Operator.IS:
            return _is(attribute, form, text)
        if operator is Operator.ILIKE:
            return text
        if operator is Operator.IN:
            return tuple(_typed(attribute, form, item) for item in _listed(text, "()"))
        if operator in (Operator.CS, Operator.CD):
            return tuple(_listed(text, "{}"))
        return _typed(attribute, form, text)


def _is(attribute: Attribute, form: Form, text: str) -> bool | None:
    word = text.lower()
    if word == "null":
        return None
    if form is Form.FLAG and word in ("true", "false"):
        return word == "true"
    raise _bad(f"{attribute.name}=is.{text} cannot be asked.")


def _typed(attribute: Attribute, form: Form, text: str) -> Any:
    match form:
        case Form.NUMBER if _NUMBER.fullmatch(text):
            return float(text) if "." in text else int(text)
        case Form.FLAG if text.lower() in ("true", "false"):
            return text.lower() == "true"
        case Form.MOMENT:
            # A plus sign in a query means a space to whoever decodes it as a form.
            moment = as_moment(text.replace(" ", "+") if "T" in text else text)
            if moment is not None:
                return moment
        case Form.TEXT | Form.WORD:
            return folded(text) if attribute.caseless else text
    raise _bad(f"The value {text} does not fit {attribute.name}.")


def _listed(text: str, brackets: str) -> Sequence[str]:
    if len(text) < 2 or (text[0], text[-1]) != (brackets[0], brackets[1]):
        raise _bad(f"The list {text} cannot be read.")
    inside = text[1:-1].strip()
    return [_unquoted(item) for item in split(inside)] if inside else []


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _order(text: str, shape: Shape, type: str) -> tuple[Rank, ...]:
    ranks = []
    for part in split(text):
        name, dot, direction = part.partition(".")
        attribute = _known(name.strip(), shape, type)
        if attribute.form in (Form.OBJECT, Form.LIST) or attribute.related:
            raise _bad(f"The attribute {name} cannot be ordered by.")
        if dot and direction.lower() not in ("asc", "desc"):
            raise _bad(f"The order {part} is neither asc nor desc.")
        ranks.append(Rank(attribute, direction.lower() == "desc"))
    return tuple(ranks)


def _whole(name: str, text: str, *, least: int) -> int:
    found = _WHOLE.fullmatch(text.strip())
    if found is None:
        raise _bad(f"The {name} {text} is no whole number.")
    value = -_counted(found[2]) if found[1] else _counted(found[2])
    if value < least:
        raise OutOfRange(f"The {name} {value} is less than {least}.")
    return value


def _counted(digits: str) -> int:
    """A number of any length; one that is beyond everything is cut."""
    digits = digits.lstrip("0")
    return min(_BEYOND, int(digits[:19] or "0"))


def _negation(text: str) -> tuple[bool, str]:
    return (True, text[4:]) if text.startswith("not.") else (False, text)


def _known(name: str, shape: Shape, type: str) -> Attribute:
    attribute = shape.get(name)
    if attribute is None:
        raise _unknown(name, type)
    return attribute


def _unknown(name: str, type: str) -> BadRequest:
    return BadRequest(f"The attribute [{type}.{name}] does not exist.", code="unknown-attribute")


def _bad(detail: str) -> BadRequest:
    return BadRequest(detail, code="bad-query")
