"""What every dialect needs of a request: keys, queries, bodies, marks of repetition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.delivery.request import raw_segments, repetition, request_key, request_query, socket_key
from hub.model.errors import BadRequest, NotAuthenticated


def scope(
    *headers: tuple[bytes, bytes], query: bytes = b"", path: bytes = b"/x", method: str = "POST"
) -> dict[str, Any]:
    return {"method": method, "path": path.decode(), "raw_path": path, "query_string": query, "headers": list(headers)}


AUTH = b"authorization"


@pytest.mark.parametrize("value", [b"Bearer ak_one12345", b"bearer  ak_one12345 ", b"BEARER ak_one12345"])
def test_the_key_is_what_follows_bearer(value: bytes) -> None:
    assert request_key(scope((AUTH, value))) == "ak_one12345"


def test_a_bare_key_is_taken_only_where_the_dialect_allows_it() -> None:
    shown = scope((AUTH, b"ak_one12345"))

    assert request_key(shown, bare=True) == "ak_one12345"
    with pytest.raises(NotAuthenticated):
        request_key(shown)


def test_two_authorizations_are_refused_even_if_they_are_equal() -> None:
    with pytest.raises(BadRequest):
        request_key(scope((AUTH, b"Bearer ak_one12345"), (AUTH, b"Bearer ak_one12345")))


@pytest.mark.parametrize("value", [b"", b"Bearer", b"Basic dTpw", b"Bearer a b", b"Token ak_one12345"])
def test_another_form_of_authorization_is_no_key(value: bytes) -> None:
    with pytest.raises(NotAuthenticated):
        request_key(scope((AUTH, value)), bare=False)


@pytest.mark.parametrize("offered", [b"wss, pelion_ak_one12345", b"pelion_ak_one12345,wss"])
def test_a_handshake_may_show_its_key_as_a_subprotocol_in_either_order(offered: bytes) -> None:
    assert socket_key(scope((b"sec-websocket-protocol", offered)), "pelion_") == "ak_one12345"


def test_a_handshake_that_shows_two_keys_is_refused() -> None:
    protocol = (b"sec-websocket-protocol", b"hub.v1.json, key.ak_one12345")

    with pytest.raises(BadRequest):
        socket_key(scope(protocol, (AUTH, b"Bearer ak_one12345")), "key.")
    with pytest.raises(BadRequest):
        socket_key(scope((b"sec-websocket-protocol", b"key.ak_one12345, key.ak_two12345")), "key.")


@pytest.mark.parametrize("query", [b"key=ak_one12345", b"a=1&Access_Token=x", b"api_key=", b"Authorization=Bearer+x"])
def test_a_key_in_the_url_is_refused(query: bytes) -> None:
    with pytest.raises(BadRequest):
        request_query(scope(query=query))


@pytest.mark.parametrize("query", [b"a=%ff", b"\xff=1", b"&".join([b"a=1"] * 65)])
def test_a_query_that_cannot_be_read_is_refused(query: bytes) -> None:
    with pytest.raises(BadRequest):
        request_query(scope(query=query))


def test_the_last_of_equal_names_wins_and_empty_values_stay() -> None:
    assert request_query(scope(query=b"a=1&a=2&b=&c=x%20y+z")) == {"a": "2", "b": "", "c": "x y z"}


def test_without_an_idempotency_key_there_is_no_mark() -> None:
    assert repetition(scope(), b"") is None


KEYED = (b"idempotency-key", b"k")


@pytest.mark.parametrize(
    "other",
    [
        (scope(KEYED, method="PUT"), b"body"),
        (scope(KEYED, path=b"/y"), b"body"),
        (scope(KEYED, query=b"a=1"), b"body"),
        (scope(KEYED), b"bodx"),
        (scope(KEYED, path=b"/xb"), b"ody"),
    ],
)
def test_method_path_query_and_body_make_another_request(other: tuple[dict[str, Any], bytes]) -> None:
    first = repetition(scope(KEYED), b"body")

    assert first is not None and first == repetition(scope(KEYED), b"body")
    assert repetition(*other) != first


@pytest.mark.parametrize("values", [[b""], [b"x" * 256], [b"a b"], [b"\xc3\xa4"], [b"a\x00"], [b"a", b"a"]])
def test_an_idempotency_key_is_1_to_255_visible_ascii_characters(values: Sequence[bytes]) -> None:
    with pytest.raises(BadRequest):
        repetition(scope(*((b"idempotency-key", value) for value in values)), b"")


def test_segments_are_told_as_they_came() -> None:
    assert raw_segments(scope(path=b"/v1/devices/a%2Fb/observations/5/0")) == [
        "v1", "devices", "a%2Fb", "observations", "5", "0",
    ]  # fmt: skip


@given(
    st.lists(st.tuples(st.sampled_from([AUTH, b"sec-websocket-protocol", b"x"]), st.binary(max_size=40))), st.binary()
)
def test_no_bytes_break_the_reading_of_a_request(headers: list[tuple[bytes, bytes]], query: bytes) -> None:
    given_scope = scope(*headers, query=query)
    for read in (request_key, request_query, lambda scope: socket_key(scope, "key."), lambda s: repetition(s, b"")):
        try:
            read(given_scope)
        except (BadRequest, NotAuthenticated):
            continue
