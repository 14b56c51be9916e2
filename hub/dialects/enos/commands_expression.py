"""The expressions by which commands are searched, as conditions. Pure.

What is understood: comparisons of the fields below, joined by `and`, `or` and brackets. Words are taken without case.
A moment is shown in milliseconds, so that it is compared in milliseconds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from hub.dialects.enos.commands_failure import ARGUMENT, fail
from hub.dialects.enos.failure import Failure
from hub.model.command import SHAPE
from hub.model.query import (
    Attribute,
    Compare,
    Condition,
    Either,
    Every,
    Form,
    Not,
    Operator,
    as_moment,
    folded,
)

MOST_TEXT = 4096
MOST_COMPARISONS = 100
MOST_DEPTH = 16
MOST_DIGITS = 15

UNDERSTOOD = (
    "understood are comparisons of commandId, commandType, commandName, tslIdentifier, timeout, pendingTtl, state "
    "(=, !=, in (...); numbers also <, <=, >, >=; texts also like) and createTime (=, !=, <, <=, >, >= with "
    "milliseconds or 'YYYY-MM-DD HH:mm:ss' in UTC), joined by and, or and brackets"
)

_FIELDS = {
    "commandid": "id", "commandtype": "kind", "commandname": "name", "tslidentifier": "target", "timeout": "timeout",
    "pendingttl": "pending", "state": "state", "createtime": "accepted_at",
}  # fmt: skip
_TOKEN = re.compile(
    r"""\s*(?:(?P<sign><=|>=|!=|<>|=|<|>|\(|\)|,)|(?P<text>'[^']*'|"[^"]*")|(?P<number>-?\d+(?![\w.]))"""
    r"""|(?P<word>[A-Za-z_][A-Za-z0-9_.]*))""",
    re.ASCII,
)
_SIGNS = {
    "=": Operator.EQ, "!=": Operator.NEQ, "<>": Operator.NEQ, "<": Operator.LT, "<=": Operator.LTE,
    ">": Operator.GT, ">=": Operator.GTE,
}  # fmt: skip
_EPOCH = datetime.fromtimestamp(0, UTC)
_MILLISECOND = timedelta(milliseconds=1)


def condition_of(text: str) -> Condition | None:
    """The condition that an expression states, None for an empty one. Raises Failure that says what is understood."""
    if len(text) > MOST_TEXT:
        raise fail(ARGUMENT, f"an expression has at most {MOST_TEXT} characters")
    reader = _Reader(text)
    if reader.next is None:
        return None
    found = reader.either(0)
    if reader.next is not None:
        raise reader.wrong()
    return found


class _Reader:
    """Reads an expression from left to right; `next` is the kind and the text of what stands there."""

    def __init__(self, text: str) -> None:
        self._text = text.rstrip()
        self._at = 0
        self._comparisons = 0
        self.next: tuple[str, str] | None = None
        self._step()

    def either(self, depth: int) -> Condition:
        """Conditions joined by `or`."""
        return self._joined("or", Either, lambda: self._joined("and", Every, lambda: self._one(depth)))

    def wrong(self) -> Failure:
        """That what stands here is not understood."""
        here = "its end" if self.next is None else repr(self.next[1][:40])
        return fail(ARGUMENT, f"the expression is not understood at {here}: {UNDERSTOOD}")

    def _joined(self, word: str, joint: Any, inner: Any) -> Condition:
        found = [inner()]
        while self._takes("word", word):
            found.append(inner())
        return found[0] if len(found) == 1 else joint(tuple(found))  # type: ignore[no-any-return]

    def _one(self, depth: int) -> Condition:
        if self._takes("sign", "("):
            if depth >= MOST_DEPTH:
                raise fail(ARGUMENT, f"an expression has at most {MOST_DEPTH} brackets within each other")
            found = self.either(depth + 1)
            self._needs(")")
            return found
        self._comparisons += 1
        if self._comparisons > MOST_COMPARISONS:
            raise fail(ARGUMENT, f"an expression has at most {MOST_COMPARISONS} comparisons")
        return self._comparison()

    def _comparison(self) -> Condition:
        if self.next is None or self.next[0] != "word":
            raise self.wrong()
        field, dot, _locale = self.next[1].lower().partition(".")
        name = _FIELDS.get(field)
        if name is None or (dot and name != "name"):
            raise self.wrong()
        self._step()
        attribute = SHAPE[name]
        if attribute.form is Form.TEXT and self._takes("word", "like"):
            pattern = str(self._value(attribute)).replace("%", "*")
            return Compare(attribute, Operator.ILIKE, f"*{pattern}*")
        if attribute.form is not Form.MOMENT and self._takes("word", "in"):
            return self._in(attribute)
        if self.next is None or self.next[0] != "sign" or self.next[1] not in _SIGNS:
            raise self.wrong()
        operator = _SIGNS[self.next[1]]
        if attribute.form is Form.TEXT and operator not in (Operator.EQ, Operator.NEQ):
            raise self.wrong()
        self._step()
        if attribute.form is Form.MOMENT:
            return _within(attribute, operator, self._moment())
        return Compare(attribute, operator, self._value(attribute))

    def _in(self, attribute: Attribute) -> Condition:
        self._needs("(")
        values = [self._value(attribute)]
        while self._takes("sign", ","):
            values.append(self._value(attribute))
        self._needs(")")
        return Compare(attribute, Operator.IN, tuple(values))

    def _value(self, attribute: Attribute) -> str | int:
        if self.next is None or self.next[0] not in ("text", "number"):
            raise self.wrong()
        kind, written = self.next
        text = written[1:-1] if kind == "text" else written
        if attribute.form is Form.NUMBER:
            digits = text.removeprefix("-")
            if not (digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS):
                raise self.wrong()
            self._step()
            return int(text)
        self._step()
        return folded(text) if attribute.caseless else text

    def _moment(self) -> datetime:
        if self.next is None or self.next[0] not in ("text", "number"):
            raise self.wrong()
        kind, written = self.next
        text = written[1:-1] if kind == "text" else written
        found: datetime | None = None
        if text.isascii() and text.isdigit():
            found = _EPOCH + int(text) * _MILLISECOND if len(text) <= 14 else None
        elif kind == "text":
            found = as_moment(text)
        if found is None:
            raise self.wrong()
        self._step()
        return found

    def _takes(self, kind: str, text: str) -> bool:
        if self.next is None or (self.next[0], self.next[1].lower()) != (kind, text):
            return False
        self._step()
        return True

    def _needs(self, sign: str) -> None:
        if not self._takes("sign", sign):
            raise self.wrong()

    def _step(self) -> None:
        if self._at >= len(self._text):
            self.next = None
            return
        found = _TOKEN.match(self._text, self._at)
        if found is None or found.lastgroup is None:
            self.next = ("unknown", self._text[self._at :].lstrip())
            raise self.wrong()
        self._at = found.end()
        self.next = (found.lastgroup, found[found.lastgroup])


def _within(attribute: Attribute, operator: Operator, moment: datetime) -> Condition:
    """A comparison in whole milliseconds, of moments that are kept more exactly."""
    first = _EPOCH + (moment - _EPOCH) // _MILLISECOND * _MILLISECOND
    try:
        after = first + _MILLISECOND
    except OverflowError:
        after = first
    match operator:
        case Operator.LT | Operator.GTE:
            return Compare(attribute, operator, first)
        case Operator.LTE:
            return Compare(attribute, Operator.LT, after)
        case Operator.GT:
            return Compare(attribute, Operator.GTE, after)
    same = Every((Compare(attribute, Operator.GTE, first), Compare(attribute, Operator.LT, after)))
    return same if operator is Operator.EQ else Not(same)
