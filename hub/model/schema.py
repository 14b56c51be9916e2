"""What an OpenAPI document (2.0 or 3.x) says: types, their attributes, what a request may carry. Pure.

Only what can be judged without asking the far side is taken from it: paths, methods, the properties of bodies with
their types and bounds. Whatever else the document says, and what it leaves open, passes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.model.errors import BadRequest, MethodNotAllowed, NotFound, Refusal
from hub.model.query import Attribute, Form, Shape, Shapes

SCHEMA = "schema"
"""The attribute of a device that names its schema."""

MOST_NESTED = 8
_METHODS = ("get", "post", "patch", "put", "delete")
_INSTANCE = "_instance"

_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a request can never succeed: an HTTP-like status, a code word, a sentence for people."""

    status: int
    word: str
    detail: str

    @property
    def refusal(self) -> Refusal:
        """The same as a refusal."""
        kind = {404: NotFound, 405: MethodNotAllowed}.get(self.status, BadRequest)
        return kind(self.detail, code=self.word)


class Schema:
    """One document, read. Paths are relative to its base: `/volume/{id}/clone`. `paths` are their segments, None where
    anything may stand."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Raises ValueError that says what cannot be read."""
        self._document = document
        paths = document.get("paths")
        if not isinstance(paths, Mapping):
            raise ValueError("the document has no paths")
        self._paths: dict[tuple[str | None, ...], Mapping[str, Any]] = {}
        for path, item in paths.items():
            if isinstance(path, str) and isinstance(item, Mapping):
                segments = (part for part in path.strip("/").split("/") if part)
                self._paths[tuple(None if part.startswith("{") else part for part in segments)] = item
        self.types = frozenset(segments[0] for segments in self._paths if segments and segments[0])
        self.shapes: Shapes = self._shapes()

    def check(self, method: str, segments: Sequence[str], body: bytes) -> Fault | None:
        """What is wrong with a request, None when it may succeed. An empty body passes where none is required."""
        if not segments or segments[0] not in self.types:
            return Fault(404, "unknown-type", f"The resource {'/'.join(segments)} is not known.")
        item = self._item(segments)
        if item is None:
            return Fault(404, "unknown-type", f"The resource {'/'.join(segments)} is not known.")
        operation = item.get(method.lower())
        if not isinstance(operation, Mapping):
            return Fault(405, "method-not-allowed", f"{method} is not offered on {'/'.join(segments)}.")
        if method == "GET":
            return None
        rules = self._body(item, operation)
        value: Any = {}
        if body:
            try:
                value = json.loads(body)
            except (ValueError, RecursionError):
                return Fault(400, "bad-json", "The body is not JSON.")
        if not isinstance(value, dict):
            return Fault(400, "bad-json", "The body is not an object.")
        if rules is None:
            return _unknown(next(iter(value)), segments[0]) if value else None
        return next(self._faults(value, rules, segments[0], 0), None)

    def _item(self, segments: Sequence[str]) -> Mapping[str, Any] | None:
        # A word of the document's own goes before a place for anything: /volume/query is no instance.
        fitting = [
            path
            for path in self._paths
            if len(path) == len(segments) and all(p is None or p == s for p, s in zip(path, segments, strict=True))
        ]
        return self._paths[min(fitting, key=lambda path: path.count(None))] if fitting else None

    def _faults(self, value: Mapping[str, Any], rules: Mapping[str, Any], where: str, depth: int) -> Iterator[Fault]:
        properties = rules.get("properties")
        known: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
        for name in value:
            if name not in known and not rules.get("additionalProperties") and (known or depth == 0):
                yield _unknown(name, where)
        for name in rules.get("required") or ():
            if name not in value:
                yield Fault(400, "bad-attribute", f"The attribute [{where}.{name}] is required.")
        for name, given in value.items():
            if name in known:
                yield from self._misfits((given,), known[name], f"{where}.{name}", depth)

    def _misfits(self, values: Iterable[Any], said: Any, where: str, depth: int) -> Iterator[Fault]:
        if depth > MOST_NESTED:
            return
        # Once for all that it is said of: a list may have thousands of elements.
        rule = self._resolved(said)
        # Documents say it of the place beside a pointer, too.
        nullable = _nullable(rule) or _nullable(said)
        for value in values:
            if value is not None or not nullable:
                yield from self._misfit(value, rule, where, depth)

    def _misfit(self, value: Any, rule: Mapping[str, Any], where: str, depth: int) -> Iterator[Fault]:
        kind = rule.get("type")
        kinds = [kind] if isinstance(kind, str) else [one for one in kind or () if isinstance(one, str)]
        if kinds and not any(_is_a(value, one) for one in kinds):
            yield Fault(400, "bad-attribute", f"The attribute [{where}] is of type {' or '.join(kinds)}.")
            return
        words = rule.get("enum")
        if isinstance(words, list) and value not in words:
            yield Fault(400, "bad-attribute", f"The attribute [{where}] is one of {', '.join(map(str, words))}.")
        if not _within(value, rule):
            yield Fault(400, "bad-attribute", f"The attribute [{where}] is out of range.")
        if isinstance(value, list):
            yield from self._misfits(value, rule.get("items"), where, depth + 1)
        elif isinstance(value, dict):
            yield from self._faults(value, rule, where, depth + 1)

    def _body(self, item: Mapping[str, Any], operation: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The rules of the body of an operation, None where it takes none."""
        for parameter in [*(operation.get("parameters") or ()), *(item.get("parameters") or ())]:
            found = self._resolved(parameter)
            if found.get("in") == "body":
                return self._resolved(found.get("schema"))
        content = self._resolved(operation.get("requestBody")).get("content")
        if isinstance(content, Mapping) and content:
            media = content.get("application/json") or next(iter(content.values()))
            return self._resolved(media.get("schema") if isinstance(media, Mapping) else None)
        return None

    def _shapes(self) -> Shapes:
        found: dict[str, Shape] = {}
        for segments, item in self._paths.items():
            operation = item.get("get")
            if len(segments) <= 2 and segments and segments[0] and isinstance(operation, Mapping):
                rules = self._answer(operation)
                if rules is not None and (segments[0] not in found or len(segments) == 2):
                    found[segments[0]] = self._shape(rules)
        return found

    def _answer(self, operation: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The rules of one instance, from the answer to a query."""
        responses = operation.get("responses")
        good = self._resolved(responses.get("200")) if isinstance(responses, Mapping) else {}
        schema = good.get("schema")
        content = good.get("content")
        if schema is None and isinstance(content, Mapping) and content:
            media = next(iter(content.values()))
            schema = media.get("schema") if isinstance(media, Mapping) else None
        rules = self._resolved(schema)
        if rules.get("type") == "array":
            rules = self._resolved(rules.get("items"))
        return rules if isinstance(rules.get("properties"), Mapping) else None

    def _shape(self, rules: Mapping[str, Any]) -> Shape:
        return {name: self._attribute(name, rule) for name, rule in rules["properties"].items()}

    def _attribute(self, name: str, rule: Any) -> Attribute:
        related = _related(rule)
        if related is not None:
            return Attribute(name, Form.ONE, related)
        rules = self._resolved(rule)
        match rules.get("type"):
            case "array":
                related = _related(rules.get("items"))
                return Attribute(name, Form.LIST) if related is None else Attribute(name, Form.MANY, related)
            case "integer" | "number":
                return Attribute(name, Form.NUMBER)
            case "boolean":
                return Attribute(name, Form.FLAG)
            case "string" if rules.get("format") == "date-time":
                return Attribute(name, Form.MOMENT)
            case "string":
                return Attribute(name, Form.WORD if rules.get("enum") else Form.TEXT)
            case _:
                return Attribute(name, Form.OBJECT)

    def _resolved(self, rule: Any) -> Mapping[str, Any]:
        """The rule itself, where it is only pointed at; rules that are joined (`allOf`) as one."""
        for _ in range(MOST_NESTED):
            if not isinstance(rule, Mapping):
                return {}
            pointer = rule.get("$ref")
            if not isinstance(pointer, str):
                break
            rule = self._pointed(pointer)
        if not isinstance(rule, Mapping):
            return {}
        parts = rule.get("allOf")
        if not isinstance(parts, list):
            return rule
        joined: dict[str, Any] = dict(rule)
        for part in parts:
            found = {} if part is rule else self._resolved(part)
            properties = {**(joined.get("properties") or {}), **(found.get("properties") or {})}
            required = [*(joined.get("required") or ()), *(found.get("required") or ())]
            joined = {**found, **joined, "properties": properties, "required": required}
        return joined

    def _pointed(self, pointer: str) -> Any:
        value: Any = self._document
        for part in pointer.removeprefix("#/").split("/"):
            value = value.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(value, Mapping) else None
        return value


def _related(rule: Any) -> str | None:
    pointer = rule.get("$ref") if isinstance(rule, Mapping) else None
    if not isinstance(pointer, str) or not pointer.endswith(_INSTANCE):
        return None
    return pointer.rpartition("/")[2].removesuffix(_INSTANCE)


def _unknown(name: str, where: str) -> Fault:
    return Fault(400, "bad-attribute", f"The attribute [{where}.{name}] does not exist.")


def _nullable(rule: Any) -> bool:
    """Whether null is said to fit, as 3.0 says it, or as documents of 2.0 do; 3.1 has a type for it."""
    if not isinstance(rule, Mapping):
        return False
    return rule.get("nullable") is True or rule.get("x-nullable") is True


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return False
    return isinstance(value, _KINDS.get(kind, (object,)))


def _within(value: Any, rule: Mapping[str, Any]) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return bool(rule.get("minimum", -math.inf) <= value <= rule.get("maximum", math.inf))
    if isinstance(value, str):
        return bool(rule.get("minLength", 0) <= len(value) <= rule.get("maxLength", math.inf))
    if isinstance(value, list):
        return bool(rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", math.inf))
    return True
