"""The link format as devices in the field write it, and the content formats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.lwm2m import content
from adapters.lwm2m.link import MOST_LINKS, Link, offer, parse


def test_paths_and_attributes_are_read() -> None:
    links = parse('</3/0>;rt="a b";obs;ct=40, </1>;title="x,\\";y"')
    assert links == [
        Link("/3/0", (("rt", "a b"), ("obs", ""), ("ct", "40"))), Link("/1", (("title", 'x,";y'),)),
    ]


@pytest.mark.parametrize(
    ("text", "paths", "root"),
    [
        ('</>;rt="oma.lwm2m",</1/0>,</3/0>', ["/1/0", "/3/0"], ()),
        ("</1/0>,</3/0>", ["/1/0", "/3/0"], ()),
        ("</>,</1/0>", ["/1/0"], ()),
        ('</lwm2m>;rt="oma.lwm2m";ct=11543,</lwm2m/1/0>,</lwm2m/3>', ["/1/0", "/3"], ("lwm2m",)),
        ('</>;rt="oma.lwm2m";ct="60 110 112",</10>;ver=1.1,</sensors/temp>;obs', ["/10", "/sensors/temp"], ()),
        ("", [], ()),
    ],
)
def test_every_way_to_offer_objects_is_understood(text: str, paths: list[str], root: tuple[str, ...]) -> None:
    found = offer(text)
    assert ([resource.path for resource in found.resources], found.root) == (paths, root)


def test_an_attribute_says_what_can_be_observed() -> None:
    (first, second) = offer("</a>;obs;rt=x;if=y;ct=0,</b>").resources
    assert (first.observable, first.resource_type, first.interface, first.content_type) == (True, "x", "y", "0")
    assert not second.observable


@pytest.mark.parametrize("bad", ["x", "</1", '</1>;a="', "</1>x</2>", "</1>," * (MOST_LINKS + 1)])
def test_what_is_no_link_format_is_refused_or_read_without_harm(bad: str) -> None:
    try:
        parse(bad)
    except ValueError:
        return
    assert bad == "</1>x</2>"


@given(st.text(alphabet='<>/;,="\\ a1', max_size=40))
def test_no_text_hurts(text: str) -> None:
    try:
        offer(text)
    except ValueError:
        return


def test_every_format_has_its_number_and_old_numbers_their_name() -> None:
    for number in (0, 40, 42, 60, 110, 112, 11542, 11543):
        assert content.format_number(content.media_type(number)) == number
    assert content.media_type(1542) == content.media_type(11542)
    assert content.media_type(1543) == content.media_type(11543)
    assert (content.plain_number(1543), content.plain_number(1542)) == (content.JSON, content.TLV)
    assert content.media_type(4711) == "application/vnd.coap-format-4711"
    assert content.format_number("application/vnd.coap-format-4711") == 4711
    assert content.format_number("text/plain; charset=utf-8") == 0
    assert content.format_number("*/*") is None
    with pytest.raises(ValueError, match="number"):
        content.format_number("image/png")
