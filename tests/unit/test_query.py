"""Queries: what can be asked, what it finds, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.model.errors import BadRequest, OutOfRange, Refusal
from hub.model.query import Attribute, Chosen, Form, Row, apply, like, project
from hub.model.query_text import parse_instance, parse_query, parse_range, split

SHAPES = {
    "lamp": {
        "id": Attribute("id"),
        "name": Attribute("name"),
        "serial": Attribute("serial"),
        "state": Attribute("state", Form.WORD),
        "watts": Attribute("watts", Form.NUMBER),
        "lit": Attribute("lit", Form.FLAG),
        "since": Attribute("since", Form.MOMENT),
        "tags": Attribute("tags", Form.LIST),
        "made": Attribute("made", Form.OBJECT),
        "room": Attribute("room", Form.ONE, "room"),
        "room_id": Attribute("room_id"),
        "cables": Attribute("cables", Form.MANY, "cable"),
    },
    "room": {"id": Attribute("id"), "name": Attribute("name"), "lamps": Attribute("lamps", Form.MANY, "lamp")},
    "cable": {"id": Attribute("id"), "length": Attribute("length", Form.NUMBER)},
}

LAMPS: list[Row] = [
    {"id": "a", "name": "Desk", "serial": "S1", "state": "Ready", "watts": 5, "lit": True,
     "since": "2026-01-01T00:00:00+00:00", "tags": ["x", "y"], "made": {"by": "Acme", "year": 2020}},
    {"id": "b", "name": "door", "serial": "s1", "state": "Broken", "watts": 7.5, "lit": False,
     "since": "2026-01-01T02:00:00+01:00", "tags": ["y"], "made": {"by": None}},
    {"id": "c", "name": None, "serial": "S2", "state": "Ready", "watts": None, "lit": None, "since": None, "tags": None,
     "made": None},
    {"id": "d", "name": "", "serial": "a,b", "state": "Ready", "watts": 10, "lit": True,
     "since": "2026-01-02T00:00:00Z", "tags": [], "made": {"by": "acme"}},
]  # fmt: skip


def found(*parameters: tuple[str, str]) -> str:
    rows, _ = apply(parse_query(parameters, SHAPES, "lamp"), LAMPS)
    return "".join(row["id"] for row in rows)


@pytest.mark.parametrize(
    ("parameter", "ids"),
    [
        (("id", "eq.a"), "a"), (("id", "neq.a"), "bcd"), (("id", "not.eq.a"), "bcd"), (("id", "in.(a,c)"), "ac"),
        (("id", "not.in.(a,c)"), "bd"), (("id", "gt.b"), "cd"), (("id", "lte.b"), "ab"), (("id", "in.()"), ""),
        # What is called `name` and what is a word is compared without case; other texts are not.
        (("name", "eq.DESK"), "a"), (("name", "in.(desk,DOOR)"), "ab"), (("serial", "eq.S1"), "a"),
        (("state", "eq.READY"), "acd"), (("state", "neq.ready"), "b"),
        # What is not set is neither equal nor unequal.
        (("name", "neq.x"), "abd"), (("name", "not.eq.x"), "abd"), (("name", "is.null"), "c"),
        (("name", "not.is.null"), "abd"), (("name", "eq."), "d"),
        (("name", "ilike.D*"), "ab"), (("name", "ilike.*o*r"), "b"), (("name", "ilike.desk"), "a"),
        (("name", "not.ilike.*"), ""), (("serial", 'in.("a,b",S2)'), "cd"),
        (("watts", "gte.7.5"), "bd"), (("watts", "lt.7"), "a"), (("watts", "eq.5.0"), "a"), (("watts", "is.null"), "c"),
        (("lit", "is.true"), "ad"), (("lit", "is.false"), "b"), (("lit", "eq.TRUE"), "ad"), (("lit", "is.null"), "c"),
        (("since", "gt.2026-01-01T00:30:00Z"), "bd"), (("since", "eq.2026-01-01T01:00:00Z"), "b"),
        (("since", "lt.2026-01-01T02:00:00 02:00"), ""), (("since", "lte.2026-01-01"), "a"),
        (("tags", "cs.{y}"), "ab"), (("tags", "cs.{x,y}"), "a"), (("tags", "cd.{y,z}"), "bd"),
        (("tags", "is.null"), "c"),
        (("made->>by", "eq.Acme"), "a"), (("made->>by", "ilike.acme"), "ad"), (("made->>by", "is.null"), "bc"),
        (("made->>year", "eq.2020"), "a"), (("made", "is.null"), "c"),
        (("or", "(id.eq.a,watts.gt.9)"), "ad"), (("and", "(state.eq.ready,lit.is.true)"), "ad"),
        (("not.or", "(id.eq.a,id.eq.b)"), "cd"), (("not.and", "(lit.is.true,id.eq.a)"), "bcd"),
        (("or", "(id.eq.b,and(lit.is.true,watts.not.lt.9))"), "bd"),
        (("or", "(id.in.(a,b),not.and(lit.is.true))"), "abc"),
    ],
)  # fmt: skip
def test_a_condition_lets_through_what_it_says(parameter: tuple[str, str], ids: str) -> None:
    assert found(parameter) == ids


def test_several_conditions_must_all_hold() -> None:
    assert found(("id", "gt.a"), ("id", "lt.d"), ("state", "eq.ready")) == "c"


@pytest.mark.parametrize(
    ("order", "ids"),
    [
        ("id.desc", "dcba"), ("state,id.desc", "bdca"), ("watts", "abdc"), ("watts.desc", "cdba"), ("name.asc", "dabc"),
        ("since.desc,id", "cdba"), ("lit,id", "badc"), ("state.DESC", "acdb"),
    ],
)  # fmt: skip
def test_an_order_is_kept_and_what_is_not_set_comes_last(order: str, ids: str) -> None:
    assert found(("order", order)) == ids


def test_a_page_is_a_stretch_of_what_was_found() -> None:
    rows, place = apply(parse_query([("limit", "2"), ("offset", "1")], SHAPES, "lamp"), LAMPS)

    assert ([row["id"] for row in rows], str(place), place.whole) == (["b", "c"], "1-2/4", False)
    rows, place = apply(parse_query([("limit", "5000")], SHAPES, "lamp"), LAMPS)
    assert (len(rows), place.whole) == (4, True)
    assert parse_query([("limit", "5000")], SHAPES, "lamp").limit == 2000
    assert apply(parse_query([("id", "eq.x")], SHAPES, "lamp"), LAMPS)[1].whole
    with pytest.raises(OutOfRange):
        apply(parse_query([("offset", "4")], SHAPES, "lamp"), LAMPS)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0-99", (0, 100)), ("100-2100", (100, 2000)), ("5-5", (5, 1)), ("items=0-9", None), ("", None),
        (f"5-{'9' * 19}", (5, 2000)), (f"0-{'9' * 5000}", (0, 2000)), (f"{'0' * 30}1-{'0' * 30}2", (1, 2)),
    ],
)  # fmt: skip
def test_a_range_is_first_and_last(text: str, wanted: tuple[int, int] | None) -> None:
    assert parse_range(text) == wanted


@pytest.mark.parametrize("digits", [19, 5000])
def test_a_number_of_many_digits_is_more_than_there_can_be(digits: int) -> None:
    many = "9" * digits

    assert parse_query([("limit", many)], SHAPES, "lamp").limit == 2000
    assert parse_query([("limit", "0" * digits + "7")], SHAPES, "lamp").limit == 7
    with pytest.raises(OutOfRange):
        apply(parse_query([("offset", many)], SHAPES, "lamp"), LAMPS)
    with pytest.raises(OutOfRange):
        parse_query([("offset", f"-{many}")], SHAPES, "lamp")


def test_a_selection_reaches_into_related_instances() -> None:
    rooms: dict[str, Any] = {"id": "r", "name": "Hall"}
    cables = [{"id": "1", "length": 2}, {"id": "2", "length": None}]

    def follow(row: Row, attribute: Attribute) -> Any:
        return {"room": rooms if row["id"] == "a" else None, "cables": cables, "lamps": LAMPS[:1]}[attribute.name]

    select = parse_instance([("select", "id, name,room(name,lamps(id)),cables,made")], SHAPES, "lamp").select
    told = [project(row, select, SHAPES, "lamp", follow) for row in (LAMPS[0], LAMPS[2])]

    assert told[0] == {
        "id": "a", "name": "Desk", "room": {"name": "Hall", "lamps": [{"id": "a"}]},
        "cables": [{"id": "1"}, {"id": "2"}], "made": {"by": "Acme", "year": 2020},
    }  # fmt: skip
    assert told[1] == {"id": "c", "name": None, "room": None, "cables": [{"id": "1"}, {"id": "2"}], "made": None}


def test_everything_that_is_no_relation_is_selected_by_a_star() -> None:
    select = parse_instance([("select", "*")], SHAPES, "lamp").select

    assert {chosen.name for chosen in select} == set(SHAPES["lamp"]) - {"room", "cables"}
    assert parse_query([], SHAPES, "lamp").select == (Chosen("id"),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("select", "id,,name"), ("select", "id("), ("select", "id)"), ("select", "nothing"),
        ("select", "room(nothing)"),
        ("select", "name(id)"), ("select", "room(id"), ("select", ""), ("select", "room(" * 9 + "id" + ")" * 9),
        ("order", "tags"), ("order", "room"), ("order", "id.sideways"), ("order", ""),
        ("id", "a"), ("id", "like.a"), ("id", "eq"), ("id", "not.not.eq.a"), ("id", "is.true"), ("id", "in.a"),
        ("id", "in.(a"), ("watts", "eq.many"), ("watts", "gt.1e400"), ("watts", "ilike.1"), ("lit", "gt.true"),
        ("lit", "eq.maybe"), ("since", "eq.yesterday"),
        ("since", "gt.0001-01-01T00:00:00+23:59"), ("tags", "eq.x"), ("tags", "cs.x"), ("made", "eq.x"),
        ("room", "is.null"), ("name->>x", "eq.y"), ("nothing", "eq.x"), ("and", "id.eq.a"), ("or", "()"),
        ("or", "(id)"), ("or", "(" * 20 + ")" * 20), ("limit", "1.5"), ("offset", "x"),
        ("or", "(" + ",".join(["id.eq.a"] * 257) + ")"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(name: str, value: str) -> None:
    with pytest.raises(BadRequest):
        parse_query([(name, value)], SHAPES, "lamp")


@given(
    st.text(alphabet='abi_dstwnoer.,()*{}->"\x00é ', max_size=40),
    st.sampled_from(["select", "order", "id", "or", "made->>x", "tags"]),
)
def test_any_text_is_read_or_refused(text: str, name: str) -> None:
    try:
        query = parse_query([(name, text)], SHAPES, "lamp")
    except Refusal:
        return
    apply(query, LAMPS)


@given(st.text(alphabet="aB*", max_size=8), st.text(alphabet="AbC", max_size=8))
def test_a_pattern_is_matched_as_a_whole(pattern: str, text: str) -> None:
    wanted = re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text, re.IGNORECASE | re.DOTALL)

    assert like(pattern, text) is (wanted is not None)


def test_parts_are_split_where_no_bracket_is_open() -> None:
    assert split('a, b(c,d) ,"e,f",{g,h}') == ["a", "b(c,d)", '"e,f"', "{g,h}"]
