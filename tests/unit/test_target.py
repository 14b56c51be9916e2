"""Targets: decoded once, normal for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.model.errors import BadRequest
from hub.model.target import Target, parse_target


def test_the_first_seeds_target_loses_its_space_and_its_escapes() -> None:
    target = parse_target("/5/0/1%20?k1=v1&k2=v2%22")

    assert target.path == "/5/0/1"
    assert target.query == (("k1", "v1"), ("k2", 'v2"'))
    assert str(target) == '/5/0/1?k1=v1&k2=v2"'


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("5/0/1", "/5/0/1"),
        ("//3303/0//5700", "/3303/0/5700"),
        ("/", "/"),
        ("", "/"),
        ("/a/", "/a/"),
        ("/a%2Fb/c%3Fd", "/a%2Fb/c%3Fd"),
        ("/100%25", "/100%25"),
        ("/%E2%82%AC", "/€"),
        ("/3/0?pmin&pmax=", "/3/0?pmin&pmax"),
        ("/3/0?a=b=c", "/3/0?a=b=c"),
        ("/3/0?a%3D=b%26", "/3/0?a%3D=b%26"),
        ("/3/0?", "/3/0"),
        ("/a?x=1?2", "/a?x=1?2"),
        ("/a+b?c=d+e", "/a+b?c=d+e"),
        ("/a/%20", "/a"),
    ],
)
def test_a_target_has_one_normal_form(text: str, normal: str) -> None:
    assert str(parse_target(text)) == normal


@pytest.mark.parametrize(
    "text",
    ["/%zz", "/%4", "/5%", "/%ff", "/a%00", "/a\n", "/a/../b", "/%2e%2E/b", "/a\x7f", "/\ud800", "/" + "x" * 2048],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_target(text)


@given(st.text())
def test_the_normal_form_of_whatever_was_taken_parses_to_the_same_target(text: str) -> None:
    try:
        target = parse_target(text)
    except BadRequest:
        return
    assert parse_target(str(target)) == target


_segments = st.text(st.characters(codec="utf-8", exclude_categories=["C"])).map(lambda text: text.strip(" "))


@given(
    st.lists(_segments),
    st.lists(st.tuples(st.text("abc=&%?/ ", min_size=1), st.text("abc=&%?/ "))),
)
def test_every_decoded_target_survives_its_normal_form(segments: list[str], query: list[tuple[str, str]]) -> None:
    kept = tuple(segment for segment in segments if segment not in ("", ".", ".."))
    target = Target(kept, tuple(query))

    assert parse_target(str(target)) == target
