"""SenML in JSON and CBOR: the RFC's and LwM2M's examples, base names and times, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.lwm2m import content, senml
from adapters.lwm2m.senml import Pointer, Reading, from_cbor, from_json, to_cbor, to_json
from adapters.lwm2m.translate import as_text, readings, to_senml_json

VALUES = st.one_of(
    st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20),
    st.binary(max_size=20), st.builds(Pointer, st.just("3:0")),
)
READINGS = st.lists(
    st.builds(Reading, st.from_regex(r"/[0-9]{1,4}/[0-9]/[0-9]{1,4}", fullmatch=True), VALUES), max_size=8
)


@given(READINGS)
def test_readings_survive_both_wires(pack: list[Reading]) -> None:
    assert from_json(to_json(pack)) == pack
    assert from_cbor(to_cbor(pack)) == pack


def test_base_name_and_base_time_are_resolved() -> None:
    pack = b'[{"bn":"/3303/0/","bt":100,"n":"5700","v":1,"t":-5},{"n":"5701","vs":"Cel"},{"bn":"/1/0/","n":"0","v":3}]'
    assert from_json(pack) == [
        Reading("/3303/0/5700", 1, 95), Reading("/3303/0/5701", "Cel", 100), Reading("/1/0/0", 3, 100),
    ]


def test_a_record_may_set_a_base_and_say_nothing_else() -> None:
    assert from_json(b'[{"bn":"/3/0/"},{"n":"0","vs":"x"}]') == [Reading("/3/0/0", "x")]


def test_opaque_values_are_base64url_without_padding() -> None:
    pack = to_json([Reading("/5/0/0", b"\xff\xfe")])
    assert json.loads(pack) == [{"n": "/5/0/0", "vd": "__4"}]
    assert from_json(pack) == [Reading("/5/0/0", b"\xff\xfe")]


def test_cbor_uses_the_numbers_of_the_specification() -> None:
    cbor2 = pytest.importorskip("cbor2")
    assert from_cbor(cbor2.dumps([{-2: "/3303/0/", 0: "5700", 2: 21.5}])) == [Reading("/3303/0/5700", 21.5)]
    assert cbor2.loads(to_cbor([Reading("/3/0/0", "x")])) == [{0: "/3/0/0", 3: "x"}]


@pytest.mark.parametrize(
    "bad",
    [b"", b"{}", b"[1]", b'[{"v":1}]', b'[{"n":"/1","v":"x"}]', b'[{"n":"/1","v":1,"vs":"x"}]', b'[{"n":1,"v":1}]',
     b'[{"n":"/1","vd":"!"}]', b'[{"n":"/1","v":true}]', b"[" * 100_000, b'\xff'],
)  # fmt: skip
def test_what_is_no_pack_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError):
        from_json(bad)


@given(st.binary(max_size=60))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (from_json, from_cbor):
        try:
            read(data)
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("path", "form", "raw", "value"),
    [
        (("3303", "0", "5700"), content.TEXT, b"21.5", 21.5),
        (("3303", "0", "5700"), None, b"21.5", 21.5),
        (("3", "0", "9"), content.TEXT, b"100", 100),
        (("3", "0", "9"), content.TEXT, b"full", "full"),
        (("3311", "0", "5850"), content.TEXT, b"1", True),
        (("5", "0", "0"), content.TEXT, b"aGVsbG8=", b"hello"),
        (("5", "0", "0"), content.OPAQUE, b"hello", b"hello"),
        (("9999", "0", "1"), content.TEXT, b"text", "text"),
        (("1", "0", "1"), content.CBOR, b"\x18\x64", 100),
        (("10", "0", "1"), 1541, b"old", "old"),
    ],
)
def test_single_values_of_every_format_are_read(
    path: tuple[str, ...], form: int | None, raw: bytes, value: object
) -> None:
    (reading,) = readings(path, form, raw)
    assert (reading.name, reading.value) == ("/" + "/".join(path), value)


def test_the_json_of_the_first_version_is_read() -> None:
    raw = b'{"bn":"/3/0/","e":[{"n":"0","sv":"OMA"},{"n":"9","v":100},{"n":"7/1","v":5000}]}'
    assert [(r.name, r.value) for r in readings(("3", "0"), content.JSON, raw)] == [
        ("/3/0/0", "OMA"), ("/3/0/9", 100), ("/3/0/7/1", 5000),
    ]


def test_a_list_of_links_holds_no_values() -> None:
    with pytest.raises(ValueError, match="link-format"):
        readings(("3",), content.LINK, b"</3/0>")


def test_values_become_payloads() -> None:
    assert [as_text(value) for value in (21.5, True, "x", b"\0", Pointer("3:0"), None)] == [
        (b"21.5", "text/plain"), (b"1", "text/plain"), (b"x", "text/plain"), (b"\0", "application/octet-stream"),
        (b"3:0", "text/plain"), (b"", "text/plain"),
    ]


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("time", "moment"),
    [
        (None, None),
        (0, NOW),
        (-60, NOW - timedelta(minutes=1)),
        (2.5, NOW + timedelta(seconds=2.5)),
        ((1 << 28) - 1, NOW + timedelta(seconds=(1 << 28) - 1)),
        (1 << 28, datetime(1978, 7, 4, 21, 24, 16, tzinfo=UTC)),
        (1767225600.25, NOW.replace(microsecond=250_000)),
        (1e300, None),
        (-1e300, None),
        ((1 << 64) - 1, None),
        (-(1 << 63), None),
        (-63_902_908_800, None),
    ],
)
def test_a_time_is_a_moment_or_counts_from_now(time: float | None, moment: datetime | None) -> None:
    assert Reading("/3303/0/5700", 1, time).moment(NOW) == moment


def test_a_name_that_is_too_long_with_its_base_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        senml.from_json(b'[{"bn":"/%b","n":"1","v":1}]' % (b"x" * 254))


@pytest.mark.parametrize("form", [content.SENML_CBOR, content.JSON])
def test_what_would_be_too_long_with_full_names_is_not_translated(form: int) -> None:
    base = "/" + "x" * 240
    if form == content.JSON:
        raw = json.dumps({"bn": base, "e": [{"n": "1", "v": 1}] * 3000}).encode()
    else:
        raw = senml.cbor_dumps([{-2: base}, *[{0: "1", 2: 1}] * 3000])
    with pytest.raises(ValueError, match="too long"):
        to_senml_json(("3", "0"), form, raw)
