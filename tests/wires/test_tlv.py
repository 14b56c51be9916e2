"""OMA TLV: the specification's examples, round trips, cut-off and random bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.lwm2m import content
from adapters.lwm2m.tlv import Entry, Level, decode, encode
from adapters.lwm2m.translate import readings, to_senml_json

# LwM2M 1.0, 6.4.3.1: the Device object of a single instance, as the answer to GET /3/0.
DEVICE = bytes.fromhex(
    "c800144f70656e204d6f62696c6520416c6c69616e6365"
    "c801164c69676874776569676874204d324d20436c69656e74"
    "c80209333435303030313233"
    "c303312e30"
    "8606410001410105"
    "88070842000ed842011388"
    "870841007d42010384"
    "c10964c10a0f"
    "830b410000"
    "c40d5182428f"
    "c60e2b30323a3030"
    "c11055"
)

RESOURCES = st.builds(Entry, st.just(Level.RESOURCE), st.integers(0, 65_535), st.binary(max_size=400))
INSTANCES = st.builds(Entry, st.just(Level.RESOURCE_INSTANCE), st.integers(0, 65_535), st.binary(max_size=20))
MANY = st.builds(
    lambda id, items: Entry(Level.MULTIPLE, id, entries=tuple(items)),
    st.integers(0, 65_535),
    st.lists(INSTANCES, max_size=4),
)
DOCUMENTS = st.lists(st.one_of(RESOURCES, MANY), max_size=6).map(tuple)


@given(DOCUMENTS)
def test_a_document_survives_the_wire(entries: tuple[Entry, ...]) -> None:
    assert decode(encode(entries)) == entries


def test_the_device_object_of_the_specification_is_read() -> None:
    values = {reading.name: reading.value for reading in readings(("3", "0"), content.TLV, DEVICE)}

    assert values["/3/0/0"] == "Open Mobile Alliance"
    assert values["/3/0/2"] == "345000123"
    assert (values["/3/0/6/0"], values["/3/0/6/1"]) == (1, 5)
    assert (values["/3/0/7/0"], values["/3/0/7/1"]) == (3800, 5000)
    assert values["/3/0/9"] == 100
    assert values["/3/0/13"] == 1367491215
    assert values["/3/0/14"] == "+02:00"
    assert values["/3/0/16"] == "U"
    assert len(values) == 16


def test_the_same_comes_out_as_senml() -> None:
    pack = json.loads(to_senml_json(("3", "0"), content.TLV, DEVICE))

    assert {"n": "/3/0/0", "vs": "Open Mobile Alliance"} in pack
    assert {"n": "/3/0/7/1", "v": 5000} in pack


@pytest.mark.parametrize(
    ("path", "raw", "expected"),
    [
        (("3303", "0", "5700"), bytes.fromhex("e4164441ac0000"), ("/3303/0/5700", 21.5)),
        (("3303", "0", "5700"), bytes.fromhex("e8164408") + bytes.fromhex("4035800000000000"), ("/3303/0/5700", 21.5)),
        (("3311", "0", "5850"), bytes.fromhex("e116da01"), ("/3311/0/5850", True)),
        (("3", "0", "9"), bytes.fromhex("c109ff"), ("/3/0/9", -1)),
        (("9999", "0", "1"), bytes.fromhex("c10102"), ("/9999/0/1", 2)),
        (("9999", "0", "1"), bytes.fromhex("c30100ff80"), ("/9999/0/1", b"\x00\xff\x80")),
    ],
)
def test_values_get_the_type_of_their_resource(path: tuple[str, ...], raw: bytes, expected: tuple[str, object]) -> None:
    (reading,) = readings(path, content.TLV, raw)
    assert (reading.name, reading.value) == expected


def test_a_whole_object_keeps_its_instances_apart() -> None:
    raw = encode([Entry(Level.OBJECT_INSTANCE, n, entries=(Entry(Level.RESOURCE, 1, b"\x05"),)) for n in (0, 7)])
    assert [r.name for r in readings(("1",), content.TLV, raw)] == ["/1/0/1", "/1/7/1"]


def test_every_prefix_is_read_or_refused() -> None:
    for end in range(len(DEVICE)):
        try:
            decode(DEVICE[:end])
        except ValueError:
            continue


@given(st.binary(max_size=60))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        entries = decode(data)
    except ValueError:
        return
    assert decode(encode(entries)) == entries


def test_nesting_has_an_end() -> None:
    with pytest.raises(ValueError, match="deep"):
        decode(bytes.fromhex("0600" "0400" "0200" "0000"))
