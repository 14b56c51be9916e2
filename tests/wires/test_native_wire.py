"""The native dialect's members, in and out."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.limits import Limits
from hub.delivery.request_data import Form
from hub.dialects.native import wire
from hub.dialects.native.calls import call_query
from hub.dialects.native.problem import problem, problem_response
from hub.model.call import Call, CallSpec, CallState, OnUncertain, Order, Stage
from hub.model.device import Device, Resource
from hub.model.errors import (
    BadRequest,
    Conflict,
    Damaged,
    NotFound,
    RevisionConflict,
    StorageFailed,
    StorageFull,
    TooMany,
    Unavailable,
)
from hub.model.ids import CallId
from hub.model.outcome import Ending, Outcome
from hub.model.principal import Principal, Scope

ASKER = Principal("acme", "shop", "k1", frozenset({Scope.CALL}))
AT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)


def spec_of(value: Any, form: Form = Form.JSON) -> CallSpec:
    return wire.call_spec(value, ASKER, "lamp", form, Limits(), lambda: "fresh")


def wrong(value: Any, form: Form = Form.JSON) -> list[str]:
    with pytest.raises(BadRequest) as refused:
        spec_of(value, form)
    return [pointer for pointer, _ in refused.value.fields]


def test_a_call_with_every_member_becomes_a_spec() -> None:
    spec = spec_of(
        {
            "method": "POST",
            "uri": "3/0/4?x=%22",
            "payload-b64": "AAE=",
            "content-type": "text/plain",
            "accept": "application/cbor",
            "ref": "mine",
            "channel": "alarms",
            "timeout": 2,
            "expiry": 0.5,
            "retry": 3,
            "order": "latest",
            "on-uncertain": "resend",
            "unknown": {"a": 1},
        }
    )

    assert spec == CallSpec(
        account="acme",
        application="shop",
        ref="mine",
        device="lamp",
        method="POST",
        target='/3/0/4?x="',
        channel="shop/alarms",
        dialect="native",
        payload=b"\x00\x01",
        content_type="text/plain",
        accept="application/cbor",
        timeout=timedelta(seconds=2),
        expiry=timedelta(seconds=0.5),
        retries=3,
        order=Order.LATEST,
        on_uncertain=OnUncertain.RESEND,
    )


def test_method_and_uri_suffice() -> None:
    spec = spec_of({"method": "GET", "uri": "/5/0/1"})

    assert (spec.ref, spec.channel, spec.timeout, spec.expiry) == ("fresh", "shop/default", None, None)
    assert (spec.retries, spec.order, spec.on_uncertain) == (0, Order.SERIAL, OnUncertain.REPORT)


def test_the_same_call_in_messagepack_carries_its_payload_as_bytes() -> None:
    assert spec_of({"method": "PUT", "uri": "/5/0/1", "payload": b"\xff"}, Form.MSGPACK).payload == b"\xff"


def test_a_service_keeps_its_name_and_takes_arguments() -> None:
    spec = spec_of({"method": "INVOKE", "uri": "a%20b/c", "args": {"n": 1}})

    assert (spec.target, spec.args) == ("a%20b/c", {"n": 1})


def test_everything_that_is_wrong_is_told_at_once() -> None:
    assert wrong({"method": "BREW", "uri": 1, "retry": 1.0, "order": "first"}) == [
        "/method",
        "/uri",
        "/retry",
        "/order",
    ]


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"method": "get"}, "/method"),
        ({"method": None}, "/method"),
        ({"uri": ""}, "/uri"),
        ({"uri": "/%zz"}, "/uri"),
        ({"uri": "/a\x00"}, "/uri"),
        ({"payload-b64": "AAE"}, "/payload-b64"),
        ({"payload-b64": "AA E="}, "/payload-b64"),
        ({"payload-b64": "AA-_"}, "/payload-b64"),
        ({"payload-b64": "ä"}, "/payload-b64"),
        ({"payload-b64": 5}, "/payload-b64"),
        ({"payload": "hello"}, "/payload"),
        ({"args": {"a": 1}}, "/args"),
        ({"callback": 7}, "/callback"),
        ({"timeout": 0}, "/timeout"),
        ({"timeout": 86401}, "/timeout"),
        ({"timeout": "5"}, "/timeout"),
        ({"timeout": True}, "/timeout"),
        ({"expiry": -1}, "/expiry"),
        ({"expiry": 30 * 86400 + 1}, "/expiry"),
        ({"retry": 11}, "/retry"),
        ({"retry": True}, "/retry"),
        ({"ref": ""}, "/ref"),
        ({"ref": "x" * 257}, "/ref"),
        ({"ref": "a\nb"}, "/ref"),
        ({"channel": "no way"}, "/channel"),
        ({"on-uncertain": ["report"]}, "/on-uncertain"),
        ({"content-type": "a\r\nb: c"}, "/content-type"),
    ],
)
def test_each_wrong_member_is_named(members: dict[str, Any], pointer: str) -> None:
    assert wrong({"method": "GET", "uri": "/5/0/1", **members}) == [pointer]


def test_a_payload_under_the_other_forms_name_is_not_dropped_in_silence() -> None:
    assert wrong({"method": "PUT", "uri": "/x", "payload-b64": "AAE="}, Form.MSGPACK) == ["/payload-b64"]


@pytest.mark.parametrize("value", [None, [], "x", 1, True])
def test_a_body_that_is_no_object_is_refused(value: Any) -> None:
    assert wrong(value) == [""]


def test_a_foreign_channel_is_a_missing_one() -> None:
    with pytest.raises(NotFound):
        spec_of({"method": "GET", "uri": "/x", "channel": "other/default"})


MEMBERS = ["method", "uri", "args", "payload", "payload-b64", "timeout", "retry", "order", "ref", "channel"]


@given(
    st.dictionaries(
        st.sampled_from(MEMBERS),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.integers())
        | st.sampled_from(["GET", "INVOKE", "/5/0/1", "serial"]),
    ),
    st.sampled_from(Form),
)  # fmt: skip
def test_any_members_are_a_spec_or_a_refusal(value: dict[str, Any], form: Form) -> None:
    try:
        spec_of(value, form)
    except (BadRequest, NotFound):
        return


def state(outcome: Outcome | None = None, **more: Any) -> CallState:
    spec = CallSpec("acme", "shop", "r", "lamp", "GET", "/5/0/1", "shop/default", "native")
    call = Call(CallId("c1"), spec, "simulated", "lamp", "lamp", True, AT, AT, timedelta(seconds=30), AT)
    return CallState(call, Stage.DONE if outcome else Stage.ACCEPTED, outcome=outcome, **more)


def test_an_open_call_shows_only_what_is_known() -> None:
    assert wire.call_view(state(), Form.JSON) == {
        "id": "c1",
        "ref": "r",
        "device": "lamp",
        "method": "GET",
        "uri": "/5/0/1",
        "state": "accepted",
        "accepted-at": "2026-01-02T03:04:05.678Z",
        "attempts": 0,
        "channel": "shop/default",
        "dialect": "native",
    }


def test_an_ended_call_shows_its_outcome_and_its_place() -> None:
    outcome = Outcome(Ending.ANSWERED, 200, b"\x00\xff", "text/plain", timedelta(seconds=60))
    ended = state(outcome, attempt=1, ended_at=AT, epoch="e", offset=7)

    view = wire.call_view(ended, Form.JSON)

    assert (view["state"], view["ending"], view["status"], view["ct"], view["max-age"]) == (
        "done", "answered", 200, "text/plain", 60,
    )  # fmt: skip
    assert base64.b64decode(view["payload-b64"]) == b"\x00\xff"
    assert (view["epoch"], view["offset"], "error" in view) == ("e", 7, False)
    assert wire.call_view(ended, Form.MSGPACK)["payload"] == b"\x00\xff"


def test_a_device_shows_what_it_offers() -> None:
    device = Device("d", "acme", "simulated", "d", resources=(Resource("/5/0/1", "rt", None, "text/plain", True),))

    view = wire.device_view(device, 2, 1)

    assert view["resources"] == [{"uri": "/5/0/1", "rt": "rt", "ct": "text/plain", "obs": True}]
    assert (view["waiting"], view["in-flight"], view["presence"], "name" in view) == (2, 1, "unknown", False)


def test_a_changed_device_keeps_what_was_not_said() -> None:
    before = Device("d", "acme", "simulated", "addr", name="old", aliases={"asset": "a"}, boot="b", attrs={"x": 1})

    after = wire.changed_device({"name": "new", "upstream": "u"}, before, "d", "acme", frozenset({"simulated"}))

    assert (after.name, after.address, after.aliases, after.boot) == ("new", "addr", {"asset": "a"}, "b")
    assert after.attrs == {"x": 1, "upstream": "u"}


@pytest.mark.parametrize("id", ["", "-a", "a b", "a/b", "a" * 129, "ä", "a\n"])
def test_a_new_device_needs_an_id_that_stands_in_a_url(id: str) -> None:
    with pytest.raises(BadRequest):
        wire.changed_device({"adapter": "simulated"}, None, id, "acme", frozenset({"simulated"}))


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({}, "/adapter"),
        ({"adapter": "nope"}, "/adapter"),
        ({"adapter": "simulated", "queue-mode": "yes"}, "/queue-mode"),
        ({"adapter": "simulated", "aliases": {"a": 1}}, "/aliases"),
        ({"adapter": "simulated", "aliases": {"": "x"}}, "/aliases"),
    ],
)
def test_a_new_device_is_judged_by_its_members(value: Any, pointer: str) -> None:
    with pytest.raises(BadRequest) as refused:
        wire.changed_device(value, None, "d", "acme", frozenset({"simulated"}))
    assert [found for found, _ in refused.value.fields] == [pointer]


@pytest.mark.parametrize(
    ("value", "form", "secret"),
    [
        ({"secret": "häs"}, Form.JSON, "häs".encode()),
        ({"secret-b64": "AAE="}, Form.JSON, b"\x00\x01"),
        ({"secret": b"\x00"}, Form.MSGPACK, b"\x00"),
        ({"secret": "text"}, Form.MSGPACK, b"text"),
    ],
)
def test_a_devices_secret_is_text_or_bytes(value: Any, form: Form, secret: bytes) -> None:
    assert wire.device_secret(value, form) == secret


@pytest.mark.parametrize(
    "value", [{}, {"secret": ""}, {"secret": 5}, {"secret-b64": "x"}, {"secret-b64": ""}, [], None]
)
def test_no_secret_is_a_refusal(value: Any) -> None:
    with pytest.raises(BadRequest):
        wire.device_secret(value, Form.JSON)


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=5", 5), ("respond-async, wait=10", 10), ('Wait="7"', 7), ("wait = 61", 60), ("wait=0", None),
        ("wait=-1", None), ("await=5", None), ("", None), ("wait=abc", None), ("wait=999999999", 60), ("wait=5;x=1", 5),
    ],
)  # fmt: skip
def test_prefer_wait_is_1_to_60_seconds(prefer: str, seconds: int | None) -> None:
    assert wire.preferred_wait(prefer) == seconds


def test_a_listing_is_asked_for_by_its_query() -> None:
    query = call_query(
        {"device": "d", "state": "sent,done", "ending": "answered", "since": "2026-01-02T03:04:05.678Z",
         "until": "2026-01-02T05:04:05.678+02:00", "limit": "5", "after": "c0", "ref": "r"},
        ASKER,
    )  # fmt: skip

    assert (query.account, query.application, query.device, query.ref) == ("acme", "shop", "d", "r")
    assert query.stages == (Stage.SENT, Stage.DONE)
    assert query.since == query.until == AT
    assert (query.limit, query.after, query.ending) == (5, "c0", "answered")


@pytest.mark.parametrize(
    "query",
    [
        {"state": "nope"}, {"ending": "nope"}, {"since": "yesterday"}, {"since": "2026-01-02"}, {"limit": "0"},
        {"limit": "1001"}, {"limit": "-1"}, {"limit": "1.5"}, {"limit": "²"}, {"limit": ""}, {"until": ""},
        {"since": "0001-01-01T00:00:00+23:59"},
    ],
)  # fmt: skip
def test_a_query_that_means_nothing_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(BadRequest) as refused:
        call_query(query, ASKER)
    assert refused.value.code == "bad-query"


def test_moments_are_told_in_utc_with_milliseconds() -> None:
    assert wire.moment(AT.astimezone(timezone(timedelta(hours=2)))) == "2026-01-02T03:04:05.678Z"


def test_a_problem_has_a_stable_type_and_names_what_is_wrong() -> None:
    told = problem(BadRequest("no", fields=(("/uri", "is missing"),)), "1234")

    assert told == {
        "type": "urn:hub:problem:bad-request",
        "title": "The request is malformed",
        "status": 400,
        "detail": "no",
        "instance": "urn:request:1234",
        "errors": [{"pointer": "/uri", "detail": "is missing"}],
    }


@pytest.mark.parametrize(
    ("error", "status", "kind", "retry"),
    [
        (TooMany("x", code="queue-full", retry_after=1.2), 429, "queue-full", "2"),
        (Unavailable("x", code="draining", retry_after=1), 503, "draining", "1"),
        (StorageFailed("/secret/path"), 503, "storage-failed", "1"),
        (StorageFull("/secret/path"), 507, "storage-full", "1"),
        (RevisionConflict("x"), 409, "conflict", None),
        (Conflict("x", code="cannot-cancel"), 409, "cannot-cancel", None),
    ],
)
def test_each_error_has_its_status_and_says_when_to_come_back(
    error: Any, status: int, kind: str, retry: str | None
) -> None:
    response = problem_response(error)

    assert response.status_code == status
    assert f'"urn:hub:problem:{kind}"'.encode() in response.body
    assert response.headers.get("retry-after") == retry
    assert response.headers["content-type"] == "application/problem+json"
    assert b"secret" not in response.body


def test_what_is_no_answer_to_a_request_stays_loud() -> None:
    with pytest.raises(Damaged):
        problem(Damaged("the file is damaged"), "1")
