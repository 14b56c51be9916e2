"""Checking requests by an OpenAPI document, 2.0 and 3."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.model.query import Form
from hub.model.schema import Schema

LAMP: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 5},
        "watts": {"type": "integer", "minimum": 1, "maximum": 9},
        "ratio": {"type": "number"},
        "lit": {"type": "boolean"},
        "mood": {"$ref": "#/definitions/Mood"},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "place": {"type": "object", "properties": {"floor": {"type": "integer"}}},
        "free": {"type": "object"},
        "any": {},
        "shade": {"$ref": "#/definitions/Shade"},
        "until": {"type": "string", "x-nullable": True},
        "from": {"type": ["string", "null"]},
        "tints": {"type": "array", "items": {"type": "string", "nullable": True}},
        "glow": {"$ref": "#/definitions/Mood", "nullable": True},
        "moods": {"type": "array", "items": {"$ref": "#/definitions/Mood", "x-nullable": True}},
    },
}
INSTANCE: dict[str, Any] = {
    "allOf": [{"properties": {"id": {"type": "string"}}}],
    "properties": {
        "since": {"type": "string", "format": "date-time"},
        "mood": {"$ref": "#/definitions/Mood"},
        "watts": {"type": "integer"},
        "lit": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "lamps": {"type": "array", "items": {"$ref": "#/definitions/lamp_instance"}},
        "room": {"$ref": "#/definitions/room_instance"},
        "place": {"type": "object"},
    },
}
LAMP_INSTANCE = "#/definitions/lamp_instance"
LAMPS = {"type": "array", "items": INSTANCE}
SWAGGER: dict[str, Any] = {
    "swagger": "2.0",
    "definitions": {
        "Mood": {"type": "string", "enum": ["warm", "cold"]},
        "Shade": {"type": "string", "enum": ["red", "blue"], "nullable": True},
        "lamp_create": LAMP, "lamp_instance": INSTANCE,
    },
    "paths": {
        "/lamp": {
            "get": {"responses": {"200": {"schema": {"type": "array", "items": {"$ref": LAMP_INSTANCE}}}}},
            "post": {"parameters": [{"in": "body", "schema": {"$ref": "#/definitions/lamp_create"}}]},
        },
        "/lamp/{id}": {"get": {}, "delete": {}, "patch": {"parameters": [{"in": "body", "schema": {}}]}},
        "/lamp/query": {"post": {}},
    },
}  # fmt: skip
THREE = {
    "openapi": "3.0.0",
    "definitions": SWAGGER["definitions"],
    "paths": {
        "/lamp": {
            "get": {"responses": {"200": {"content": {"application/json": {"schema": LAMPS}}}}},
            "post": {"requestBody": {"content": {"application/json": {"schema": LAMP}}}},
        },
        "/lamp/{id}": SWAGGER["paths"]["/lamp/{id}"],
        "/lamp/query": SWAGGER["paths"]["/lamp/query"],
    },
}  # fmt: skip

CASES: list[tuple[str, str, Any, tuple[int, str] | None]] = [
    ("POST", "lamp", {"name": "desk", "watts": 9, "mood": "warm", "tags": ["a"], "place": {"floor": 1}}, None),
    ("POST", "lamp", {"name": "desk", "free": {"any": 1}, "ratio": 1}, None),
    ("POST", "lamp", {"name": "desk", "any": None, "shade": None, "until": None, "from": None, "tints": [None]}, None),
    ("POST", "lamp", {"name": "desk", "glow": None, "moods": [None, "warm"]}, None),
    ("POST", "lamp", {"name": "desk", "glow": "hot"}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "moods": ["hot"]}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "mood": None}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "watts": None}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "mood": None}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "tags": None}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "tags": [None]}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "place": {"floor": None}}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": None}, (400, "bad-attribute")),
    ("POST", "lamp", {}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "wats": 1}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": 1}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": ""}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk lamp"}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "watts": 10}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "watts": 1.0}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "watts": True}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "lit": 1}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "mood": "blue"}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "tags": ["a", "b", "c"]}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "tags": [1]}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "place": {"flor": 1}}, (400, "bad-attribute")),
    ("POST", "lamp", {"name": "desk", "place": {"floor": "x"}}, (400, "bad-attribute")),
    ("POST", "lamp", b"{", (400, "bad-json")),
    ("POST", "lamp", b"[" * 100_000, (400, "bad-json")),
    ("POST", "lamp", [], (400, "bad-json")),
    ("POST", "lamp/query", {}, None),
    ("POST", "lamp/7", {}, (405, "method-not-allowed")),
    ("GET", "lamp/7", b"", None),
    ("DELETE", "lamp/7", b"", None),
    ("DELETE", "lamp/7", {"x": 1}, (400, "bad-attribute")),
    ("PUT", "lamp/7", {}, (405, "method-not-allowed")),
    ("POST", "door", {}, (404, "unknown-type")),
    ("POST", "lamp/7/explode", {}, (404, "unknown-type")),
    ("GET", "", b"", (404, "unknown-type")),
]


@pytest.mark.parametrize("document", [SWAGGER, THREE], ids=["2.0", "3"])
@pytest.mark.parametrize(("method", "path", "body", "wrong"), CASES)
def test_a_request_is_judged_by_the_document(
    document: Any, method: str, path: str, body: Any, wrong: tuple[int, str] | None
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    fault = Schema(document).check(method, [part for part in path.split("/") if part], raw)

    assert (None if fault is None else (fault.status, fault.word)) == wrong
    assert fault is None or fault.refusal.status == fault.status


class Counted(dict[str, Any]):
    """Definitions that count how often one of them is looked up."""

    looks = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.looks += 1
        return super().get(key, default)


@pytest.mark.parametrize("element", ["warm", None])
def test_the_rule_of_a_lists_elements_is_looked_up_once(element: str | None) -> None:
    looks: list[int] = []
    for length in (1, 1000):
        definitions = Counted(SWAGGER["definitions"])
        schema, before = Schema({**SWAGGER, "definitions": definitions}), definitions.looks
        body = json.dumps({"name": "desk", "moods": [element] * length}).encode()
        assert schema.check("POST", ["lamp"], body) is None
        looks.append(definitions.looks - before)

    assert looks[0] == looks[1] > 0


@pytest.mark.parametrize("document", [SWAGGER, THREE], ids=["2.0", "3"])
def test_types_have_the_attributes_of_their_instances(document: Any) -> None:
    shape = Schema(document).shapes["lamp"]

    assert {name: (attribute.form, attribute.type) for name, attribute in shape.items()} == {
        "id": (Form.TEXT, None), "since": (Form.MOMENT, None), "mood": (Form.WORD, None), "watts": (Form.NUMBER, None),
        "lit": (Form.FLAG, None), "tags": (Form.LIST, None), "lamps": (Form.MANY, "lamp"), "room": (Form.ONE, "room"),
        "place": (Form.OBJECT, None),
    }  # fmt: skip


def test_a_document_without_paths_is_none() -> None:
    with pytest.raises(ValueError, match="paths"):
        Schema({"swagger": "2.0"})
