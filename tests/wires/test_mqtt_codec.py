"""The MQTT codec, pure: what it writes it reads, in whatever pieces it comes, and nothing else gets through."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.mqtt.listener.codec import (
    ConnAck,
    Connect,
    Decoder,
    Disconnect,
    Malformed,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    TooBig,
    UnsubAck,
    Unsubscribe,
    encode,
)

_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
_TOPICS = st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=40)
_IDS = st.integers(1, 65535)
_PACKETS: st.SearchStrategy[Packet] = st.one_of(
    st.builds(
        Connect, _TEXTS, _TEXTS, st.binary(max_size=40), st.integers(0, 65535), st.booleans(), st.just(4)
    ),
    st.builds(Connect, _TEXTS, st.none(), st.none(), st.integers(0, 65535), st.booleans(), st.just(4)),
    st.builds(ConnAck, st.integers(0, 5), st.booleans()),
    st.builds(Publish, _TOPICS, st.binary(max_size=300), st.just(0), st.just(0), st.just(False), st.booleans()),
    st.builds(Publish, _TOPICS, st.binary(max_size=300), st.just(1), _IDS, st.booleans(), st.booleans()),
    st.builds(PubAck, _IDS),
    st.builds(Subscribe, _IDS, st.lists(st.tuples(_TOPICS, st.integers(0, 2)), min_size=1, max_size=4).map(tuple)),
    st.builds(SubAck, _IDS, st.lists(st.integers(0, 255), min_size=1, max_size=4).map(tuple)),
    st.builds(Unsubscribe, _IDS, st.lists(_TOPICS, min_size=1, max_size=4).map(tuple)),
    st.builds(UnsubAck, _IDS),
    st.sampled_from([PingReq(), PingResp(), Disconnect()]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_PACKETS, max_size=6), st.randoms(use_true_random=False))
def test_what_was_written_is_read_again_whatever_the_pieces(packets: list[Packet], luck: random.Random) -> None:
    data, decoder, seen = b"".join(encode(packet) for packet in packets), Decoder(1 << 20), []
    while data:
        size = luck.randrange(1, len(data) + 1)
        seen += decoder.feed(data[:size])
        data = data[size:]

    assert seen == packets
    assert decoder.kept == 0


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_packets_or_malformed(data: bytes) -> None:
    decoder = Decoder(1000)
    try:
        packets = list(decoder.feed(data))
    except Malformed:
        return
    assert all(isinstance(packet, Packet) for packet in packets)
    assert decoder.kept <= len(data)


def test_ten_thousand_damaged_packets_are_packets_or_malformed() -> None:
    luck = random.Random(5)
    good = [
        encode(Connect("id", "user", b"secret")), encode(Publish("/a/b", b"{}", 1, 7)), encode(PubAck(7)),
        encode(Subscribe(1, (("/a", 1), ("/b", 0)))), encode(Unsubscribe(2, ("/a",))), encode(PingReq()),
    ]  # fmt: skip
    outcomes = {"read": 0, "malformed": 0}
    for _ in range(10_000):
        data = bytearray(luck.choice(good))
        for _ in range(luck.randrange(1, 3)):
            data[luck.randrange(len(data))] = luck.randrange(256)
        try:
            list(Decoder(1000).feed(bytes(data)))
            outcomes["read"] += 1
        except Malformed:
            outcomes["malformed"] += 1

    assert min(outcomes.values()) > 1000


def test_an_oversized_packet_is_refused_by_its_header_alone() -> None:
    decoder = Decoder(1000)

    assert list(decoder.feed(b"\x30\xe8\x07" + b"\0\x01t" + b"x" * 997)) == [Publish("t", b"x" * 997)]
    with pytest.raises(TooBig):
        list(decoder.feed(b"\x30\xe9\x07"))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x00\x00", "type 0"),
        (b"\x34\x05\x00\x01t\x00\x01", "QoS 2"),
        (b"\x36\x05\x00\x01t\x00\x01", "QoS 3"),
        (b"\x38\x03\x00\x01t", "DUP with QoS 0"),
        (b"\x32\x05\x00\x01t\x00\x00", "packet id 0"),
        (b"\x30\x03\x00\x01#", "a wildcard in a topic"),
        (b"\x30\x02\x00\x00", "an empty topic"),
        (b"\x30\x03\x00\x01\x00", "U+0000"),
        (b"\x30\x03\x00\x01\xff", "no UTF-8"),
        (b"\x30\x02\x00\x05", "a text past the end"),
        (b"\x80\x06\x00\x01\x00\x01t\x00", "SUBSCRIBE without its flags"),
        (b"\x82\x02\x00\x01", "no filter"),
        (b"\x82\x06\x00\x01\x00\x01t\x03", "QoS 3 asked"),
        (b"\xc1\x00", "PINGREQ with flags"),
        (b"\xc0\x01\x00", "PINGREQ with a body"),
        (b"\x10\x04\x00\x02xx", "another protocol"),
        (b"\x10\x0c\x00\x04MQTT\x04\x03\x00\x3c\x00\x00", "the reserved flag of CONNECT"),
        (b"\x10\x0e\x00\x04MQTT\x04\x42\x00\x3c\x00\x00\x00\x00", "a password without a name"),
        (b"\x30\x80\x80\x80\x80\x01", "a length of five bytes"),
    ],
)
def test_what_breaks_a_rule_is_malformed(data: bytes, why: str) -> None:
    with pytest.raises(Malformed):
        list(Decoder(1 << 28).feed(data))


def test_of_another_version_only_the_version_is_read() -> None:
    assert list(Decoder(100).feed(b"\x10\x0a\x00\x04MQTT\x05\x02\x00\x3c")) == [Connect(level=5)]
    assert list(Decoder(100).feed(b"\x10\x0c\x00\x06MQIsdp\x03\x02\x00\x3c")) == [Connect(level=3)]


def test_a_will_is_read_over() -> None:
    will = b"\x00\x04MQTT\x04\x06\x00\x3c\x00\x01c\x00\x01t\x00\x02ww"

    assert list(Decoder(100).feed(b"\x10" + bytes((len(will),)) + will)) == [Connect("c")]
