"""The body of a callback's registration: strict, and nothing in it can become another header."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.dialects.pelion.callback_wire import MOST_CHARACTERS, callback, callback_view
from hub.dialects.pelion.wire import Serialization
from hub.model.errors import BadRequest

URL = "https://app.example/notify"


def read(headers: Any, url: str = URL) -> dict[str, str]:
    return dict(callback(orjson.dumps({"url": url, "headers": headers})).headers)


def test_the_documents_own_example_is_read_and_told_back() -> None:
    body = {
        "url": URL,
        "headers": {"authorization": "f00d"},
        "serialization": {"type": "v2", "max_chunk_size": 500, "cfg": {"include_uid": True}},
    }

    read = callback(orjson.dumps(body))

    assert (read.url, read.headers, read.options) == (URL, {"authorization": "f00d"}, Serialization(500, True))
    view = callback_view(read.url, read.headers, read.options)
    assert view["serialization"]["cfg"] == {
        "include_uid": True,
        "include_timestamp": False,
        "include_original_ep": False,
        "deregistrations_as_object": False,
    }
    assert {**view, "serialization": None} == {**body, "serialization": None}


def test_headers_may_be_left_out() -> None:
    for body in ({"url": URL}, {"url": URL, "headers": None}, {"url": URL, "headers": {}}):
        assert callback(orjson.dumps(body)).headers == {}


def test_headers_of_an_application_are_taken_as_they_are() -> None:
    headers = {"Authorization": "Bearer abc==", "Cookie": "a=b", "X-Empty": "", "User-Agent": "mine"}

    assert read(headers) == headers


@pytest.mark.parametrize(
    "name",
    ["Host", "content-length", "Content-Type", "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding",
     "Upgrade", "Proxy-Authorization", "Proxy-Connection", "Expect", "webhook-id", "Webhook-Signature", "webhook-x",
     "", "a b", "a:b", "a\r\nHost", "a\n", "\u00e9", "a\x00", "(a)"],
)  # fmt: skip
def test_a_header_that_is_not_the_applications_to_set_is_refused(name: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read({name: "x"})

    assert refused.value.code == "INVALID_CALLBACK_HEADERS"


@pytest.mark.parametrize(
    "value",
    ["a\r\nHost: b", "a\nb", "a\rb", "\u00e9", "\u2028", "a\x00b", " a", "a ", "\t", "\x7f", 5, None, True, ["a"]],
)
def test_a_value_that_is_not_visible_text_is_refused(value: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        read({"a": value})

    assert refused.value.code == "INVALID_CALLBACK_HEADERS"


def test_one_header_in_two_spellings_is_refused() -> None:
    with pytest.raises(BadRequest):
        read({"X-A": "1", "x-a": "2"})


def test_url_names_and_values_have_400_characters_together() -> None:
    room = MOST_CHARACTERS - len(URL) - len("ab") - len("cd")
    assert read({"ab": "x" * room, "cd": ""})

    with pytest.raises(BadRequest) as refused:
        read({"ab": "x" * room, "cd": "y"})
    assert refused.value.code == "CALLBACK_TOO_LONG"


@given(st.dictionaries(st.text(max_size=20), st.one_of(st.text(max_size=40), st.none(), st.integers()), max_size=5))
def test_what_is_taken_can_be_written_as_header_lines(headers: dict[str, Any]) -> None:
    try:
        taken = dict(callback(json.dumps({"url": URL, "headers": headers}).encode()).headers)
    except BadRequest:
        return
    for name, value in taken.items():
        line = f"{name}: {value}\r\n"
        assert line.isascii() and line.count("\r") == line.count("\n") == 1 and ":" not in name


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        callback(body)
    except BadRequest as refused:
        assert refused.code.isupper()
