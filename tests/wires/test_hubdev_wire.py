"""The device protocol's codec: what goes in comes out, and whatever else goes in is told to be no frame."""

from __future__ import annotations

import base64
import contextlib
import random
from typing import Any

import msgpack
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.websocket.coding import BadFrame, Subprotocol
from adapters.websocket.frame import (
    Ack,
    Bye,
    Call,
    Cancel,
    Error,
    Event,
    Frame,
    Hello,
    Notify,
    Observe,
    Ping,
    Pong,
    Result,
    Unknown,
    Welcome,
)
from adapters.websocket.token import call_of_token, call_token
from adapters.websocket.wire import decode, encode

CODINGS = list(Subprotocol)

ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
texts = st.text(st.characters(codec="utf-8"), max_size=30)
maybe_text = st.none() | texts
payloads = st.binary(max_size=200)
whole = st.integers(0, (1 << 31) - 1)
maybe_whole = st.none() | whole
seconds = st.none() | st.floats(0, 86_400)
statuses = st.integers(200, 599)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
options = st.dictionaries(texts, plain, max_size=4)
links = st.lists(
    st.fixed_dictionaries({"path": texts}, optional={"rt": texts, "if": texts, "ct": texts, "obs": st.just(True)}),
    max_size=4,
).map(tuple)
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64)

frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(
        Hello, ids, ids, st.dictionaries(st.sampled_from(["key", "secret"]), texts), st.none() | st.integers(1, 1024),
        st.none() | links, maybe_text,
    ),
    st.builds(Welcome, texts, st.floats(0, 1000), st.integers(1, 1024), st.integers(1, 1 << 31), st.booleans()),
    st.builds(Call, ids, texts, texts, payloads, options),
    st.builds(Result, ids, statuses, payloads, maybe_text, maybe_whole, seconds),
    st.builds(Error, ids, statuses, texts, seconds),
    st.builds(Observe, ids, texts, options),
    st.builds(Notify, ids, whole, payloads, maybe_text, maybe_whole, st.booleans()),
    st.builds(Cancel, ids),
    st.builds(Event, whole, words, payloads, maybe_text, maybe_text, maybe_whole, st.none() | links),
    st.builds(Ack, whole),
    st.builds(Ping, whole),
    st.builds(Pong, whole),
    st.builds(Bye, st.integers(0, 9999), texts),
    st.builds(Unknown, st.integers(13, 1 << 31)),
)


@pytest.mark.parametrize("coding", CODINGS)
@given(frame=frames)
@settings(max_examples=100, deadline=None)
def test_a_frame_comes_back_as_it_went(coding: Subprotocol, frame: Frame) -> None:
    assert decode(encode(frame, coding), coding) == frame


@pytest.mark.parametrize("coding", CODINGS)
@given(frame=frames)
@settings(max_examples=30, deadline=None)
def test_a_frame_that_was_cut_off_is_none(coding: Subprotocol, frame: Frame) -> None:
    data = encode(frame, coding)
    for end in range(len(data)):
        with pytest.raises(BadFrame):
            decode(data[:end], coding)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("rounds", [2_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_random_bytes_raise_nothing_else(coding: Subprotocol, rounds: int) -> None:
    seed = random.Random(1)
    good = [encode(Result("id", 200, b"payload", "text/plain", 5), coding), encode(Hello("dev", "boot"), coding)]
    understood = 0
    for _ in range(rounds):
        data = bytearray(seed.choice(good) if seed.random() < 0.6 else seed.randbytes(seed.randrange(64)))
        for _ in range(seed.randrange(4)):
            if data:
                data[seed.randrange(len(data))] = seed.randrange(256)
        try:
            frame = decode(bytes(data), coding)
        except BadFrame:
            continue
        understood += 1
        assert isinstance(frame, Frame)
    assert understood


@given(value=st.recursive(plain, lambda inner: st.lists(inner, max_size=8), max_leaves=20))
@settings(max_examples=50, deadline=None)
def test_any_value_at_all_is_a_frame_or_is_refused(value: Any) -> None:
    for coding, data in (
        (Subprotocol.JSON, orjson.dumps(value)), (Subprotocol.MSGPACK, msgpack.packb(value)),
        (Subprotocol.JSON, orjson.dumps([3, value, value, value, value])),
        (Subprotocol.MSGPACK, msgpack.packb([0, value])),
        (Subprotocol.MSGPACK, msgpack.packb([8, 1, value, b"", value])),
    ):
        with contextlib.suppress(BadFrame):
            assert isinstance(decode(data, coding), Frame)


@pytest.mark.parametrize(
    "message",
    [
        b"", b"{}", b"[]", b"[[3]]", b'["3","id",200,""]', b"[3.0]", b"[true]", b"[-1]", b"[3]", b'[3,"",200,""]',
        b'[3,"id",99,""]', b'[3,"id",600,""]', b'[3,"id",true,""]', b'[3,"id",200,"%%%"]', b'[3,"id",200,"QQ"]',
        b'[3,"id",200,7]', b'[3,"id",200,"",[]]', b'[3,"id",200,"",{"ct":7}]', b'[3,"id",200,"",{"max_age":-1}]',
        b'[3,"id",200,"",{"retry_after":"soon"}]', b'[0,{"v":2,"dev":"d","boot":"b"}]',
        b'[0,{"v":1,"dev":"","boot":"b"}]',
        b'[0,{"v":1,"dev":"d"}]', b'[0,{"v":1,"dev":"d","boot":"b","links":[{"rt":"x"}]}]',
        b'[0,{"v":1,"dev":"d","boot":"b","auth":"ak_x"}]', b'[8,-1,"k",""]', b'[8,1,"",""]', b'[10,"n"]',
        b"[3" + b"[" * 100_000, b'[7,"' + b"x" * 129 + b'"]', b'[3,"\\ud800",200,""]', b"\xff\xfe", b"nan",
    ],
    ids=range(33),
)
def test_what_breaks_a_rule_is_no_frame(message: bytes) -> None:
    with pytest.raises(BadFrame):
        decode(message, Subprotocol.JSON)


def test_extension_types_are_refused() -> None:
    for value in (msgpack.ExtType(5, b"x"), msgpack.Timestamp(1)):
        with pytest.raises(BadFrame):
            decode(msgpack.packb([3, "id", 200, b"", {"x": value}]), Subprotocol.MSGPACK)


def test_text_is_no_payload_in_messagepack() -> None:
    with pytest.raises(BadFrame):
        decode(msgpack.packb([3, "id", 200, "text"]), Subprotocol.MSGPACK)


def test_members_with_a_default_may_be_left_out_and_others_may_follow() -> None:
    assert decode(b'[3,"id",200]', Subprotocol.JSON) == Result("id", 200)
    assert decode(b'[3,"id",200,null,null,"later version"]', Subprotocol.JSON) == Result("id", 200)
    assert decode(b'[3,"id",200,"",{"unknown":{"a":1}}]', Subprotocol.JSON) == Result("id", 200)
    assert decode(b'[99,"whatever"]', Subprotocol.JSON) == Unknown(99)


def test_the_twins_differ_in_their_payloads_only() -> None:
    for frame in (Result("id", 200, b"\x00\xff", "a/b", 3), Event(7, "notify", b"\x01", "/t"), Notify("o", 1, b"\x02")):
        packed = msgpack.unpackb(encode(frame, Subprotocol.MSGPACK))
        read = orjson.loads(encode(frame, Subprotocol.JSON))
        assert read[3] == base64.b64encode(packed[3]).decode()
        assert read[:3] + read[4:] == packed[:3] + packed[4:]


def test_the_frames_look_as_documented() -> None:
    assert orjson.loads(encode(Hello("lamp", "b1", {"key": "ak_x"}, 2, ({"path": "/1"},), "s"), Subprotocol.JSON)) == [
        0,
        {"v": 1, "dev": "lamp", "boot": "b1", "auth": {"key": "ak_x"}, "caps": {"win": 2}, "links": [{"path": "/1"}],
         "resume": "s"},
    ]
    assert orjson.loads(encode(Welcome("s", 20, 1, 9, False), Subprotocol.JSON)) == [
        1, {"v": 1, "sid": "s", "hb": 20, "win": 1, "max": 9, "resumed": False}
    ]
    assert orjson.loads(encode(Call("id", "GET", "/1", b"p", {"ttl": 5}), Subprotocol.JSON)) == [
        2, "id", "GET", "/1", "cA==", {"ttl": 5}
    ]
    assert orjson.loads(encode(Bye(1012, "restart"), Subprotocol.JSON)) == [12, 1012, "restart"]


def test_a_token_is_good_for_one_call_on_one_device() -> None:
    token = call_token("call-1", "lamp")

    assert call_of_token(token, "lamp") == "call-1"
    assert call_of_token(token, "door") is None
    assert call_of_token(token[:-1] + ("0" if token[-1] != "0" else "1"), "lamp") is None
    assert call_of_token("call-1", "lamp") is None
    assert call_of_token("", "lamp") is None
