"""The Connect dialect's words: device requests, options, messages."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.dialects.pelion import wire
from hub.dialects.pelion.view import PelionView
from hub.dialects.pelion.wire import Serialization
from hub.dialects.pelion.withdrawn import Withdrawn
from hub.dialects.pelion.words import word_response
from hub.model.call import CallSpec
from hub.model.device import Device
from hub.model.errors import (
    BadRequest,
    Damaged,
    IdempotencyConflict,
    MethodNotAllowed,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    StorageFailed,
    StorageFull,
    TooLarge,
    TooMany,
    Unavailable,
)
from hub.model.event import Event, EventKind, Gap, Position
from hub.model.principal import Principal, Scope

ASKER = Principal("acme", "shop", "k1", frozenset({Scope.CALL}))
SEED_ID = "015f2fa34d310000000000010030036c"
ASYNC_ID = "123e4567-e89b-12d3-a456-426655440000"
SEED_GET = rb'{ "method": "GET", "uri": "/5/0/1" }'
SEED_PUT = (
    rb'{ "method": "PUT", "uri": "/5/0/1%20?k1=v1&k2=v2%22", "accept": "text/plain", '
    rb'"content-type": "text/plain", "payload-b64": "dmFsdWUxCg==" }'
)


def spec_of(body: bytes = SEED_GET, device: Device | None = None, **query: str) -> CallSpec:
    asked = {name.replace("_", "-"): value for name, value in query.items()}
    return wire.device_request(body, {"async-id": ASYNC_ID, **asked}, ASKER, SEED_ID, device)


def word(body: bytes = SEED_GET, **query: str) -> str:
    with pytest.raises(BadRequest) as refused:
        spec_of(body, **query)
    return refused.value.code


def test_the_seeds_first_example_is_a_read() -> None:
    spec = spec_of()

    assert (spec.ref, spec.device, spec.method, spec.target) == (ASYNC_ID, SEED_ID, "GET", "/5/0/1")
    assert (spec.channel, spec.dialect, spec.application) == ("shop/default", "pelion", "shop")


def test_the_seeds_second_example_is_a_write_of_its_payload() -> None:
    spec = spec_of(SEED_PUT)

    assert (spec.method, spec.target) == ("PUT", '/5/0/1?k1=v1&k2=v2"')
    assert (spec.payload, spec.content_type, spec.accept) == (b"value1\n", "text/plain", "text/plain")


def test_without_an_expiry_the_documented_one_holds_and_it_is_known_that_nobody_asked_for_it() -> None:
    spec = spec_of()

    assert (spec.expiry, spec.retries, spec.echo) == (timedelta(hours=2), 0, {"expiry_set": False})


def test_a_sleeping_device_gets_more_time_and_two_retries() -> None:
    spec = spec_of(device=Device(SEED_ID, "acme", "simulated", "x", queue_mode=True))

    assert (spec.expiry, spec.retries, spec.echo) == (timedelta(days=3), 2, {"expiry_set": False})


def test_what_the_caller_says_holds() -> None:
    spec = spec_of(expiry_seconds="60", retry="10")

    assert (spec.expiry, spec.retries, spec.echo) == (timedelta(seconds=60), 10, {"expiry_set": True})


@pytest.mark.parametrize("async_id", ["", "x" * 257, "a\nb", "a\x00", "a\x7f", "a\x85"])
def test_a_malformed_async_id_has_its_word(async_id: str) -> None:
    assert word(async_id=async_id) == "MALFORMED_ASYNC_ID"


@pytest.mark.parametrize("async_id", ["x", "a" * 256, "session 1/device/3303/0/5700", "ü€"])
def test_an_async_id_may_name_session_device_and_path(async_id: str) -> None:
    assert spec_of(async_id=async_id).ref == async_id


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"5", b'"x"', b"{}", b'{"method":"GET"}', b'{"uri":"/5/0/1"}',
        b'{"method":"PATCH","uri":"/"}',
        b'{"method":"get","uri":"/5"}', b'{"method":"GET","uri":5}', b'{"method":"GET","uri":""}',
        b'{"method":"GET","uri":"/%zz"}', b'{"method":"GET","uri":"/5","payload-b64":"A"}',
        b'{"method":"GET","uri":"/5","payload-b64":1}', b'{"method":"GET","uri":"/5","accept":{}}',
        b'{"method":"GET","uri":"\\ud800"}', b"\xff", b"[" * 5000,
    ],
)  # fmt: skip
def test_a_malformed_body_has_its_word(body: bytes) -> None:
    assert word(body) == "MALFORMED_JSON_CONTENT"


@pytest.mark.parametrize("retry", ["-1", "11", "x", "", "1.0", "²", "9" * 30])
def test_retry_is_0_to_10(retry: str) -> None:
    assert word(retry=retry) == "INVALID_RETRY"


@pytest.mark.parametrize("seconds", ["59", "2592001", "x", "", "-60"])
def test_expiry_is_a_minute_to_thirty_days(seconds: str) -> None:
    assert word(expiry_seconds=seconds) == "INVALID_EXPIRY_SECONDS"


@given(st.binary(max_size=200), st.dictionaries(st.sampled_from(["async-id", "retry", "expiry-seconds"]), st.text()))
def test_any_request_is_a_spec_or_a_word(body: bytes, query: dict[str, str]) -> None:
    try:
        wire.device_request(body, query, ASKER, SEED_ID, None)
    except BadRequest as refused:
        assert refused.code.isupper()


def test_options_may_be_strings_as_in_the_vendors_examples() -> None:
    given_options = {"type": "v2", "max_chunk_size": "100", "cfg": {"include_uid": "true", "include_timestamp": True}}

    options = wire.serialization(orjson.dumps({"serialization": given_options}))

    assert options == Serialization(100, include_uid=True, include_timestamp=True)
    assert wire.serialization(orjson.dumps({"serialization": wire.serialization_view(options)})) == options


@pytest.mark.parametrize("body", [b"", b"  ", b"{}", b'{"serialization":null}'])
def test_no_options_are_the_vendors_defaults(body: bytes) -> None:
    assert wire.serialization(body) is None


@pytest.mark.parametrize(
    "options",
    [
        {}, {"type": "v1"}, {"type": "v2", "max_chunk_size": 99}, {"type": "v2", "max_chunk_size": 10001},
        {"type": "v2", "max_chunk_size": True}, {"type": "v2", "max_chunk_size": 100.0}, {"type": "v2", "cfg": []},
        {"type": "v2", "cfg": {"include_uid": "yes"}}, {"type": "v2", "cfg": {"include_uid": 1}}, [], "v2",
    ],
)  # fmt: skip
def test_wrong_options_are_refused(options: Any) -> None:
    with pytest.raises(BadRequest):
        wire.serialization(orjson.dumps({"serialization": options}))


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (NotFound(code="device-not-found"), 404, "DEVICE_NOT_FOUND"),
        (NotFound(code="resource-not-found"), 400, "RESOURCE_NOT_FOUND"),
        (TooMany(code="queue-full"), 400, "QUEUE_IS_FULL"),
        (TooMany(code="too-many-calls"), 400, "LIMITS_EXCEEDED"),
        (TooLarge(code="payload-too-large"), 413, "PAYLOAD_TOO_LARGE"),
        (NotAuthenticated(), 401, "NOT_AUTHENTICATED"),
        (NotAllowed(), 403, "NOT_ALLOWED"),
        (MethodNotAllowed(), 405, "METHOD_NOT_ALLOWED"),
        (IdempotencyConflict(), 409, "IDEMPOTENCY_CONFLICT"),
        (BadRequest(), 400, "BAD_REQUEST"),
        (StorageFailed("secret"), 503, "STORAGE_FAILED"),
        (StorageFull("secret"), 507, "STORAGE_FULL"),
        (Unavailable(code="draining", retry_after=1), 503, "DRAINING"),
    ],
)
def test_errors_are_bare_words(error: Any, status: int, text: str) -> None:
    response = word_response(error)

    assert (response.status_code, response.body.decode()) == (status, text)
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert (response.headers.get("retry-after") is not None) == (status in (503, 507))


def test_what_is_no_answer_to_a_request_stays_loud() -> None:
    with pytest.raises(Damaged):
        wire.said(Damaged("x"))


AT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)


def event(offset: int, kind: EventKind = EventKind.COMPLETION, **body: Any) -> Event:
    given_body: dict[str, Any] = {"device": "d", "name": "own"}
    if kind is EventKind.COMPLETION:
        given_body |= {"ref": f"r{offset}", "status": 200, "payload": b"", "call_id": "c"}
    if kind is EventKind.NOTIFICATION:
        given_body |= {"path": "/3303/0/5700", "payload": b"21", "content_type": "text/plain", "max_age": None}
    if kind in (EventKind.REGISTERED, EventKind.UPDATED):
        given_body |= {"type": "t", "queue_mode": False, "resources": [{"uri": "/5/0/1", "obs": True}]}
    return Event("shop/default", "e", offset, AT, kind, {**given_body, **body})


def messages(view: PelionView, *events: Event) -> list[Any]:
    return [orjson.loads(message) for message in view.render(events)]


def test_the_seeds_answer_is_told_with_the_seeds_members() -> None:
    answer = event(1, ref=ASYNC_ID, status=200, payload=b"value1\n", content_type="text/plain", max_age=600)

    [message] = messages(PelionView(), answer)

    assert message["async-responses"] == [
        {"id": ASYNC_ID, "status": 200, "payload": "dmFsdWUxCg==", "ct": "text/plain", "max-age": 600}
    ]


def test_only_lists_with_items_are_told_and_the_last_items_place() -> None:
    [message] = messages(PelionView(), event(3), event(4, EventKind.NOTIFICATION), event(6))

    assert set(message) == {"async-responses", "notifications", "epoch", "offset"}
    assert [item["id"] for item in message["async-responses"]] == ["r3", "r6"]
    assert (message["epoch"], message["offset"]) == ("e", 6)


def test_every_success_is_told_as_200() -> None:
    [message] = messages(PelionView(), event(1, status=204))

    assert message["async-responses"][0]["status"] == 200


def test_a_failed_outcome_of_500_and_above_has_a_message_of_its_own() -> None:
    told = messages(PelionView(), event(1), event(2, status=504, error="TIMEOUT"), event(3), event(4, status=404))

    assert [[item["id"] for item in message["async-responses"]] for message in told] == [["r1"], ["r2"], ["r3", "r4"]]
    assert told[1]["async-responses"] == [{"id": "r2", "status": 504, "error": "TIMEOUT"}]


def test_a_message_has_at_most_as_many_items_as_asked_for() -> None:
    view = PelionView(Serialization(max_chunk_size=100))

    told = messages(view, *(event(offset) for offset in range(1, 251)))

    assert [len(message["async-responses"]) for message in told] == [100, 100, 50]
    assert [message["offset"] for message in told] == [100, 200, 250]


def test_registrations_carry_an_array_of_resources_and_departures_a_string() -> None:
    [message] = messages(
        PelionView(),
        event(1, EventKind.REGISTERED, resources=[]),
        event(2, EventKind.UPDATED),
        event(3, EventKind.DEREGISTERED),
        event(4, EventKind.EXPIRED),
    )

    assert message["registrations"] == [{"ep": "d", "original-ep": "own", "ept": "t", "q": False, "resources": []}]
    assert message["reg-updates"][0]["resources"] == [{"path": "/5/0/1", "obs": True}]
    assert (message["de-registrations"], message["registrations-expired"]) == (["d"], ["d"])


def test_options_add_what_they_say() -> None:
    view = PelionView(Serialization(100, True, True, True, True))

    [message] = messages(view, event(1, EventKind.DEREGISTERED), event(2, EventKind.NOTIFICATION), event(3))

    stamp = 1767323045678
    assert message["de-registrations"] == [{"ep": "d", "uid": "e-1", "timestamp": stamp, "original-ep": "own"}]
    assert message["notifications"][0]["uid"] == "e-2"
    assert message["async-responses"][0]["timestamp"] == stamp


def value(offset: int, path: str, device: str = "d") -> Event:
    return event(offset, EventKind.NOTIFICATION, path=path, device=device)


def test_told_singly_a_message_has_values_of_one_resource_only_and_the_order_stays() -> None:
    events = (
        value(1, "/a"), event(2), value(3, "/a"), value(4, "/b"), value(5, "/b", "e"), value(6, "/a"),
        event(7, EventKind.UPDATED), value(8, "/b"),
    )  # fmt: skip

    assert [message["offset"] for message in messages(PelionView(), *events)] == [8]
    told = messages(PelionView(singly=True), *events)
    assert [message["offset"] for message in told] == [3, 4, 5, 7, 8]
    assert [[item["path"] for item in message["notifications"]] for message in told] == [
        ["/a", "/a"], ["/b"], ["/b"], ["/a"], ["/b"],
    ]  # fmt: skip


def test_what_was_taken_back_is_told_no_more_and_what_comes_after_is() -> None:
    withdrawn = Withdrawn()
    withdrawn.take([("d", "/a"), ("e", None)], Position("e", 3))
    view = PelionView(withdrawn=withdrawn)
    events = (
        value(1, "/a"), value(2, "/b"), value(3, "/b", "e"), value(4, "/a"), value(5, "/a", "e"), event(3, device="e"),
    )  # fmt: skip

    [message] = messages(view, *events)

    assert [(item["ep"], item["path"]) for item in message["notifications"]] == [("d", "/b"), ("d", "/a"), ("e", "/a")]
    assert len(message["async-responses"]) == 1
    assert view.first(events[:1]) == (None, 1)


def test_what_was_taken_back_is_forgotten_once_it_is_passed_in_whatever_order_it_was_known() -> None:
    withdrawn = Withdrawn()
    for path, offset in (("/b", 7), ("/a", 3), ("/c", 5)):
        withdrawn.take([("d", path)], Position("e", offset))

    withdrawn.passed(Position("e", 5))
    assert (len(withdrawn), withdrawn.hides(value(7, "/b"))) == (1, True)

    withdrawn.passed(Position("another", 1))
    assert len(withdrawn) == 0


def test_only_so_much_is_remembered_of_what_was_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.dialects.pelion.withdrawn.MOST", 2)
    withdrawn = Withdrawn()
    withdrawn.take([("d", "/a"), ("d", "/b"), ("d", "/c")], Position("e", 9))

    assert [withdrawn.hides(value(1, path)) for path in ("/a", "/b", "/c")] == [False, True, True]


def test_of_what_is_older_than_the_channel_only_completions_are_shown() -> None:
    view = PelionView(made=Position("e", 2))

    [message] = messages(view, event(1), event(2, EventKind.NOTIFICATION), event(3, EventKind.NOTIFICATION))

    assert [item["id"] for item in message["async-responses"]] == ["r1"]
    assert (len(message["notifications"]), message["offset"]) == (1, 3)


def test_offsets_of_another_life_are_not_taken_for_older() -> None:
    assert len(messages(PelionView(made=Position("old", 99)), event(1, EventKind.NOTIFICATION))) == 1


def test_a_value_that_got_ahead_of_the_channel_by_a_moment_is_shown_and_nothing_else_is() -> None:
    view = PelionView(made=Position("e", 4), news=2)
    [message] = messages(
        view, event(2, EventKind.NOTIFICATION), event(3, EventKind.DEREGISTERED), event(4, EventKind.NOTIFICATION)
    )
    assert (set(message), len(message["notifications"]), message["offset"]) == (
        {"notifications", "epoch", "offset"}, 1, 4,
    )


def test_nothing_to_show_is_no_message() -> None:
    assert PelionView().render([event(1, EventKind.PROGRESS)]) == []


def test_a_gap_is_told_in_a_member_that_the_sdks_ignore() -> None:
    told = PelionView().gap(Gap(3, 9, 9, "retention"), "shop/default", "e")

    assert told is not None
    assert orjson.loads(told) == {
        "gap": {"from": 3, "to": 9, "next": 9, "reason": "retention"},
        "epoch": "e",
        "offset": 9,
    }


def test_views_with_equal_options_share_a_lane() -> None:
    assert PelionView(Serialization(100)).key == PelionView(Serialization(100)).key
    assert PelionView(Serialization(100)).key != PelionView(Serialization(100, include_uid=True)).key


@given(st.binary(max_size=300))
def test_payloads_are_standard_padded_base64(payload: bytes) -> None:
    [message] = messages(PelionView(), event(1, payload=payload))

    assert base64.b64decode(message["async-responses"][0]["payload"], validate=True) == payload
